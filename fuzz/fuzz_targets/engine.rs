#![no_main]
//! Whatever the engine says becomes evidence or nothing, and a container's environment never does.

use anteroom::engine::convert;
use bollard::models;
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "planted-in-the-environment";

fuzz_target!(|bytes: &[u8]| {
    if let Ok(mut inspected) = serde_json::from_slice::<models::ContainerInspectResponse>(bytes) {
        inspected.config.get_or_insert_default().env = Some(vec![format!("PASSWORD={SECRET}")]);
        if let Some(container) = convert::container(inspected) {
            assert!(!format!("{container:?}").contains(SECRET));
            assert!(convert::is_id(&container.id));
        }
    }
    if let Ok(list) = serde_json::from_slice::<Vec<models::ContainerSummary>>(bytes) {
        for listed in list.into_iter().filter_map(convert::listed) {
            assert!(convert::is_id(&listed.id));
        }
    }
    if let Ok(list) = serde_json::from_slice::<Vec<models::Network>>(bytes) {
        list.into_iter().filter_map(convert::network).for_each(drop);
    }
    if let Ok(event) = serde_json::from_slice::<models::EventMessage>(bytes) {
        drop(convert::occurrence(event));
    }
});
