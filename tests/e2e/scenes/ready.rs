//! Grafana is ready, and nobody notices that anteroom is there.

use http::Method;

use super::scenes;
use crate::stack::Stack;

scenes![
    a_request_reaches_grafana_as_traefik_would_have_sent_it,
    a_body_reaches_grafana_whole,
    a_head_request_gets_the_head,
    a_websocket_carries_messages_both_ways,
    everything_else_still_reaches_cvat,
    the_status_of_a_ready_grafana_is_told_by_anteroom,
];

fn a_request_reaches_grafana_as_traefik_would_have_sent_it(stack: &Stack) {
    let answer = stack.ask("/analytics/d/all/events?orgId=1&from=now-6h&var=%20%2F").header("x-own", "kept").send();
    let seen = answer.expect(200).from("grafana").json();
    assert_eq!(seen["method"], "GET", "{answer}");
    assert_eq!(seen["path"], "/d/all/events?orgId=1&from=now-6h&var=%20%2F", "{answer}");
    let headers = &seen["headers"];
    assert_eq!(headers["x-own"], "kept", "{answer}");
    assert_eq!(headers["x-forwarded-prefix"], "/analytics", "{answer}");
    assert_eq!(headers["x-forwarded-host"], "localhost", "{answer}");
    assert_eq!(headers["x-forwarded-proto"], "http", "{answer}");
    // `passHostHeader: false` is CVAT's setting for Grafana, which checks the origin of WebSockets against it.
    assert_eq!(headers["host"], "grafana:3000", "{answer}");
}

fn a_body_reaches_grafana_whole(stack: &Stack) {
    let body = "refresh=1&".repeat(20_000);
    // Traefik closes its connection under the answer if that comes before it has noticed the end of what it sends, also
    // where Grafana itself is behind it: of 25,000 such requests at once on busy cores, seven.
    let answer = stack.ask("/analytics/api/ds/query").header("x-work", "200").post(&body).send();
    assert_eq!(answer.expect(200).from("grafana").json()["body"], body);
}

fn a_head_request_gets_the_head(stack: &Stack) {
    let head = stack.ask("/analytics/login").method(Method::HEAD).send();
    head.expect(200).from("grafana");
    assert_eq!(head.body, "", "{head}");
}

fn a_websocket_carries_messages_both_ways(stack: &Stack) {
    // A masked text frame, "live".
    let frame = [0x81, 0x84, 1, 2, 3, 4, b'l' ^ 1, b'i' ^ 2, b'v' ^ 3, b'e' ^ 4];
    let (answer, echoed) = stack.ask("/analytics/api/live/ws").echo(&frame).expect("an upgraded connection");
    answer.expect(101).from("grafana").header("upgrade", "websocket");
    assert_eq!(echoed, frame);
}

fn everything_else_still_reaches_cvat(stack: &Stack) {
    stack.ask("/tasks").send().expect(200).from("ui");
    stack.ask("/api/server/about").send().expect(200).from("server");
}

fn the_status_of_a_ready_grafana_is_told_by_anteroom(stack: &Stack) {
    let status = stack.ask("/analytics/").for_status().send();
    status.expect(200).state("ready").header("cache-control", "no-store");
    assert!(!status.is_from("grafana"), "{status}");
}
