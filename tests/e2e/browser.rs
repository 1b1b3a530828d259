//! A real browser: Chromium without a window, driven through chromedriver as W3C WebDriver says
//! (<https://www.w3.org/TR/webdriver2/>), and as Chromium's own protocol says where WebDriver has no word for it.
//!
//! A scene has one of its own, with a profile that is empty. What a person would do is done as a person does it, by a
//! click; what a person would see is asked for by a script, which is not subject to the page's policy.

use std::cell::RefCell;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::Method;
use serde_json::{Value, json};

use crate::ask::{Ask, poll};
use crate::engine::output;
use crate::kept::Kept;
use crate::runner::is_required;
use crate::stack::Stack;

/// For a container: no sandbox inside of one, no graphics, and little shared memory. With a pipe instead of a port, no
/// browser outlives its chromedriver. Pictures are the same with and without scroll bars.
const SWITCHES: [&str; 7] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
];

/// A window on an ordinary screen, and one on a small phone. The height is short enough for a page to need scrolling.
pub const SCREEN: (u32, u32) = (1100, 800);
pub const PHONE: (u32, u32) = (360, 740);

/// How a browser differs from one that was just installed.
#[derive(Clone, Copy, Default)]
pub struct Habits<'a> {
    /// Its user does not let pages run scripts.
    pub without_scripts: bool,
    /// As `Accept-Language` has it; English if nothing is said.
    pub languages: Option<&'a str>,
    /// A name that leads to this machine.
    pub host: Option<&'a str>,
}

/// A window of it. Dropping it ends all of it.
pub struct Browser {
    address: SocketAddr,
    session: String,
    profile: PathBuf,
    /// What happened on the network, as far as it was fetched: the log is emptied by reading it.
    network: RefCell<Vec<Value>>,
    console: RefCell<Vec<Value>>,
    /// Dropped after the session has ended.
    _driver: Kept,
}

/// What is missing on this machine, if anything.
fn missing() -> Option<String> {
    ["chromium", "chromedriver"].into_iter().find_map(|program| {
        let mut command = Command::new(program);
        command.arg("--version");
        output(command).err().map(|error| format!("{program} is missing: {error:#}"))
    })
}

impl Browser {
    /// Opens one for a scene; `None` where there is no Chromium, and none is demanded.
    #[track_caller]
    pub fn open(stack: &Stack, habits: Habits<'_>) -> Option<Self> {
        if let Some(missing) = missing() {
            assert!(!is_required(), "{missing}");
            eprintln!("NO BROWSER has looked at the page: {missing}");
            return None;
        }
        Some(Self::start(stack.scratch("browser"), habits).unwrap_or_else(|error| panic!("{error:#}")))
    }

    fn start(profile: PathBuf, habits: Habits<'_>) -> Result<Self> {
        // One that a scene has left behind in its fall.
        let _ = fs::remove_dir_all(&profile);
        let mut driver = Kept::start("chromedriver", ["--port=0"], &[])?;
        let port =
            driver.listen(|line| line.split_once("successfully on port ")?.1.trim().trim_end_matches('.').parse().ok());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.context("chromedriver does not start")?));

        let mut switches: Vec<String> = SWITCHES.map(str::to_owned).into();
        switches.push(format!("--user-data-dir={}", profile.display()));
        switches.push(format!("--window-size={},{}", SCREEN.0, SCREEN.1));
        switches.push(format!("--accept-lang={}", habits.languages.unwrap_or("en-GB,en")));
        switches.extend(habits.host.map(|host| format!("--host-resolver-rules=MAP {host} 127.0.0.1")));
        let mut preferences = json!({});
        if habits.without_scripts {
            // 2 blocks, as in the settings of a site.
            preferences["profile.managed_default_content_settings.javascript"] = json!(2);
        }
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": switches, "prefs": preferences},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }}});
        let started = call(address, Method::POST, "/session", &wanted).context("Chromium does not start")?;
        let session = started["sessionId"].as_str().context("a session has an id")?.to_owned();
        let (network, console) = (RefCell::default(), RefCell::default());
        Ok(Self { address, session, profile, network, console, _driver: driver })
    }

    fn attempt(&self, command: &str, arguments: &Value) -> Result<Value> {
        call(self.address, Method::POST, &format!("/session/{}/{command}", self.session), arguments)
    }

    #[track_caller]
    fn command(&self, command: &str, arguments: &Value) -> Value {
        self.attempt(command, arguments).unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Goes to a page, as by its address bar, and returns when it has loaded.
    #[track_caller]
    pub fn visit(&self, url: &str) {
        self.command("url", &json!({"url": url}));
    }

    /// The same, again and again until an expression is true of what has loaded.
    #[track_caller]
    pub fn visit_until(&self, url: &str, expression: &str) {
        let seen = poll(|| {
            self.visit(url);
            (self.look(expression).ok()? == true).then_some(())
        });
        assert!(seen.is_some(), "in vain: until {expression}\n{}", self.text());
    }

    /// The value of an expression on the page.
    #[track_caller]
    pub fn see(&self, expression: &str) -> Value {
        self.look(expression).unwrap_or_else(|error| panic!("{error:#}"))
    }

    fn look(&self, expression: &str) -> Result<Value> {
        self.attempt("execute/sync", &json!({"script": format!("return {expression}"), "args": []}))
    }

    /// Looks again and again until an expression is true; the page may go away and come back meanwhile.
    #[track_caller]
    pub fn until(&self, what: &str, expression: &str) {
        let mut last = None;
        let seen = poll(|| {
            let look = self.look(expression);
            let is_so = look.as_ref().is_ok_and(|value| *value == json!(true));
            last = Some(look);
            is_so.then_some(())
        });
        assert!(seen.is_some(), "in vain: until {what}\nthe last look: {last:?}\n{}", self.text());
    }

    /// Waits until the page has asked so often for a newer one.
    #[track_caller]
    pub fn until_asked_again(&self, times: u64) {
        let asked = "performance.getEntriesByType('resource').filter((it) => it.initiatorType === 'fetch').length";
        let before = self.see(asked).as_u64().expect("a number");
        self.until("it has asked again", &format!("{asked} >= {}", before + times));
    }

    /// What a person reads, for messages.
    pub fn text(&self) -> String {
        let text = "[location.href, document.title, document.body.innerText].join('\\n')";
        self.look(text).map_or_else(|error| format!("{error:#}"), |text| text.as_str().unwrap_or_default().to_owned())
    }

    /// Runs an asynchronous function of no arguments, and returns what it comes to.
    #[track_caller]
    pub fn result_of(&self, function: &str) -> Value {
        let script = format!(
            "const done = arguments[0];\
             ({function})().then((value) => done({{value}}), (error) => done({{error: String(error)}}));"
        );
        let result = self.command("execute/async", &json!({"script": script, "args": []}));
        assert!(result["error"].is_null(), "{}\n{}", result["error"], self.text());
        result["value"].clone()
    }

    /// Runs a whole script, such as a library.
    #[track_caller]
    pub fn run(&self, script: &str) {
        self.command("execute/sync", &json!({"script": script, "args": []}));
    }

    /// Clicks on what a selector finds first, with the mouse.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        let element = self.command("element", &json!({"using": "css selector", "value": selector}));
        // The key is WebDriver's, and there is one.
        let id = element.as_object().and_then(|it| it.values().next()?.as_str()).expect("an element has an id");
        self.command(&format!("element/{id}/click"), &json!({}));
    }

    /// Gives the site that is shown a cookie such as a login sets.
    #[track_caller]
    pub fn set_cookie(&self, cookie: &str) {
        let (name, value) = cookie.split_once('=').expect("a cookie has a name");
        let cookie = json!({"name": name, "value": value, "path": "/", "httpOnly": true, "sameSite": "Lax"});
        self.command("cookie", &json!({"cookie": cookie}));
    }

    /// As when a session ends.
    #[track_caller]
    pub fn clear_cookies(&self) {
        self.chromium("Network.clearBrowserCookies", json!({}));
    }

    /// Lets the site that is shown do what a user would be asked for, such as `clipboard-read`.
    #[track_caller]
    pub fn permit(&self, name: &str) {
        self.command("permissions", &json!({"descriptor": {"name": name}, "state": "granted"}));
    }

    /// A command of Chromium's own protocol.
    #[track_caller]
    fn chromium(&self, command: &str, parameters: Value) -> Value {
        self.command("goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    /// What the system or its user prefers, e.g. `prefers-color-scheme: dark`. Replaces what was preferred before.
    #[track_caller]
    pub fn prefer(&self, features: &[(&str, &str)]) {
        let features: Vec<Value> = features.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        self.chromium("Emulation.setEmulatedMedia", json!({"media": "", "features": features}));
    }

    /// As on paper.
    #[track_caller]
    pub fn print(&self) {
        self.chromium("Emulation.setEmulatedMedia", json!({"media": "print"}));
    }

    /// A window or a phone of this size.
    #[track_caller]
    pub fn resize(&self, (width, height): (u32, u32)) {
        let mobile = width == PHONE.0;
        let scale = if mobile { 2 } else { 1 };
        let size = json!({"width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile});
        self.chromium("Emulation.setDeviceMetricsOverride", size);
    }

    /// Writes the whole page, however long, to `target/screenshots`.
    #[track_caller]
    pub fn photograph(&self, name: &str) {
        let shot = self.chromium("Page.captureScreenshot", json!({"format": "png", "captureBeyondViewport": true}));
        let image = BASE64_STANDARD.decode(shot["data"].as_str().unwrap_or_default()).expect("Chromium writes base64");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("screenshots");
        fs::create_dir_all(&folder).expect("the target's folder is ours");
        fs::write(folder.join(name).with_extension("png"), image).expect("the target's folder is ours");
    }

    /// Everything that was written to the console, by pages or about them.
    #[track_caller]
    pub fn console(&self) -> Vec<Value> {
        let news = self.command("se/log", &json!({"type": "browser"}));
        self.console.borrow_mut().extend(news.as_array().into_iter().flatten().cloned());
        self.console.borrow().clone()
    }

    /// Every request that a page has sent, as Chromium's `Network.requestWillBeSent` tells it.
    #[track_caller]
    pub fn requests(&self) -> Vec<Value> {
        let news = self.command("se/log", &json!({"type": "performance"}));
        let sent = news.as_array().into_iter().flatten().filter_map(|entry| {
            let event: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            (event["message"]["method"] == "Network.requestWillBeSent").then(|| event["message"]["params"].clone())
        });
        self.network.borrow_mut().extend(sent);
        self.network.borrow().clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // What does not end by request ends with its chromedriver.
        let _ = call(self.address, Method::DELETE, &format!("/session/{}", self.session), &Value::Null);
        let _ = fs::remove_dir_all(&self.profile);
    }
}

/// One command of WebDriver and what it comes to.
fn call(driver: SocketAddr, method: Method, path: &str, arguments: &Value) -> Result<Value> {
    let ask = Ask::at(driver, path).anonymous();
    let ask = match arguments {
        Value::Null => ask,
        some => ask.header("content-type", "application/json").post(&some.to_string()),
    };
    let answer = ask.method(method).attempt()?;
    let mut told: Value = serde_json::from_str(&answer.body).with_context(|| answer.body.clone())?;
    let value = told["value"].take();
    if answer.status.is_success() {
        return Ok(value);
    }
    // The rest of it is a stack of addresses inside of Chromium.
    Err(anyhow!("{path}: {}: {}", value["error"], value["message"]))
}
