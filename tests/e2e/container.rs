//! One container of a stack, and the ways to break it. What breaks it returns when the engine shows it broken.

use crate::ask::poll;
use crate::stack::Stack;

/// A container that a scene may break; the stack is made whole again afterwards.
pub struct Container<'a> {
    stack: &'a Stack,
    name: String,
}

impl<'a> Container<'a> {
    pub fn new(stack: &'a Stack, service: &str) -> Self {
        Self { stack, name: format!("{}_{service}", stack.project) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// It ends by itself, with this code, and its policy does not restart it.
    #[track_caller]
    pub fn exit(&self, code: u8) {
        self.order(&["exit", &code.to_string()]);
    }

    /// It allocates memory until the kernel kills it, and its policy does not restart it.
    #[track_caller]
    pub fn run_out_of_memory(&self) {
        self.order(&["eat"]);
    }

    /// Tells the stub to end, and its policy not to restart it. The container ends while the order is given, and takes the one
    /// who gives it along: so detached, and what the engine says of it counts only if the container does not end.
    #[track_caller]
    fn order(&self, order: &[&str]) {
        self.without_restart();
        let given = self.stack.try_docker(&[&["exec", "--detach", &self.name, "/stub", "order"], order].concat());
        poll(|| (self.inspect("{{.State.Status}}") == "exited").then_some(()))
            .unwrap_or_else(|| panic!("{} is not exited yet: {given:?}", self.name));
    }

    /// It keeps ending by itself until its policy, which has so many attempts, gives up.
    #[track_caller]
    pub fn give_up_after(&self, most: u8) {
        self.act(&["update", "--restart", &format!("on-failure:{most}"), &self.name]);
        self.wait_until("exited");
    }

    #[track_caller]
    pub fn kill(&self) {
        self.without_restart();
        self.act(&["kill", &self.name]);
        self.wait_until("exited");
    }

    #[track_caller]
    pub fn stop(&self) {
        self.act(&["stop", &self.name]);
    }

    #[track_caller]
    pub fn start(&self) {
        self.act(&["start", &self.name]);
    }

    #[track_caller]
    pub fn restart(&self) {
        self.act(&["restart", &self.name]);
    }

    #[track_caller]
    pub fn pause(&self) {
        self.act(&["pause", &self.name]);
    }

    #[track_caller]
    pub fn remove(&self) {
        self.act(&["rm", "-f", &self.name]);
    }

    /// Takes it off CVAT's network and puts it, with the same alias, on another one.
    #[track_caller]
    pub fn move_to(&self, network: &str) {
        self.disconnect();
        self.act(&["network", "connect", "--alias", "grafana", network, &self.name]);
    }

    /// Takes it off CVAT's network.
    #[track_caller]
    pub fn disconnect(&self) {
        self.act(&["network", "disconnect", &self.network(), &self.name]);
    }

    /// Puts it on CVAT's network, as compose had done.
    #[track_caller]
    pub fn connect(&self) {
        self.act(&["network", "connect", "--alias", "grafana", &self.network(), &self.name]);
    }

    fn network(&self) -> String {
        format!("{}_cvat", self.stack.project)
    }

    pub fn log(&self) -> String {
        self.stack.docker(&["logs", &self.name])
    }

    pub fn inspect(&self, format: &str) -> String {
        self.stack.docker(&["inspect", "--format", format, &self.name]).trim().to_owned()
    }

    /// The override gives Grafana `restart: always`; CVAT 2.15 alone gives it none.
    fn without_restart(&self) {
        self.act(&["update", "--restart", "no", &self.name]);
    }

    #[track_caller]
    fn wait_until(&self, status: &str) {
        poll(|| (self.inspect("{{.State.Status}}") == status).then_some(()))
            .unwrap_or_else(|| panic!("{} is not {status} yet", self.name));
    }

    #[track_caller]
    fn act(&self, words: &[&str]) {
        self.stack.soil();
        self.stack.docker(words);
    }
}
