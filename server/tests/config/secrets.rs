//! Secrets in the configuration: warnings about the file, and errors that do not show them.

use std::{
    fs::{Permissions, set_permissions},
    os::unix::fs::PermissionsExt,
};

use test_support::{ADMIN_TOKEN, Launch, Server, reload::Reloaded};

/// Starts a server with a file of this text and these permissions.
fn start(text: &str, mode: u32) -> Server {
    let launch = Launch::new();
    let path = launch.file("tollgate.toml", text);
    set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    launch.args(&["--config", path.to_str().unwrap()]).start()
}

#[test]
fn a_file_with_secrets_that_all_users_can_read_is_a_warning() {
    let files = [
        format!("admin_token = '{ADMIN_TOKEN}'"),
        format!("check_token = '{ADMIN_TOKEN}'"),
        "client = { header = 'X-API-Key' }\napi_keys = ['a key']".to_owned(),
        "client = { header = 'X-API-Key' }\n[[rules]]\nclient_id = 'a key'\ncapacity = 5\nrefill_rate = 1"
            .to_owned(),
        "redis = 'redis://user:word@127.0.0.1:1/'".to_owned(),
    ];
    for file in files {
        let server = start(&file, 0o644);
        let log = server.wait_for_log("readable by all users");
        assert!(
            log.contains("WARN") && log.contains("tollgate.toml"),
            "{file}: {log}"
        );
        let server = start(&file, 0o640);
        server.wait_for_log("started");
        server.get("/health");
        let log = server.stderr();
        assert!(!log.contains("readable by all users"), "{file}: {log}");
    }
    let server = start("capacity = 5\nredis = 'redis://127.0.0.1:1/'", 0o644);
    server.get("/health");
    let log = server.stderr();
    assert!(!log.contains("readable by all users"), "no secret: {log}");
}

#[test]
fn a_reload_warns_as_well() {
    let reloaded = Reloaded::start("capacity = 5", &[]);
    reloaded.reload(&format!("capacity = 5\nadmin_token = '{ADMIN_TOKEN}'"));
    reloaded.server.wait_for_log("readable by all users");
}

#[test]
fn errors_do_not_show_api_keys() {
    let header = "client = { header = 'X-API-Key' }\n";
    for (name, text) in [
        ("a.toml", format!("{header}api_keys = 'the-secret'")),
        (
            "a.toml",
            format!("{header}api_keys = ['the-secret', ' bad the-secret']"),
        ),
        ("a.json", r#"{"api_keys": "the-secret"}"#.to_owned()),
        (
            "a.toml",
            format!(
                "{header}{0}{0}",
                "[[rules]]\nclient_id = 'the-secret'\ncapacity = 5\nrefill_rate = 1\n"
            ),
        ),
    ] {
        let refusal = Launch::new().config(name, &text).start_error().unwrap();
        assert_eq!(refusal.code, Some(2), "{text}: {}", refusal.stderr);
        let line = &refusal.stderr;
        assert!(
            !line.contains("the-secret")
                && (line.contains("api_keys") || line.contains("rules[1]")),
            "{text}: {line}"
        );
    }
}
