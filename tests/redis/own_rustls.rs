//! Feature `redis` beside an application's own rustls: it brings no crypto provider.

use std::{path::Path, process::Command};

fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo
}

/// Runs the command, and returns its output.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Shares the target directory, and so the dependencies built for these tests.
#[test]
fn application_with_its_own_provider_runs() {
    output(
        cargo()
            .args(["run", "--quiet", "--manifest-path"])
            .arg("tests/apps/own-rustls/Cargo.toml")
            .env(
                "CARGO_TARGET_DIR",
                Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap(),
            ),
    );
}

#[test]
fn feature_redis_depends_on_no_tls() {
    let tree = |feature: &str| {
        output(
            cargo()
                .args(["tree", "--package", "tollgate", "--edges", "normal"])
                .args(["--prefix", "none", "--no-default-features", "--features"])
                .arg(feature),
        )
    };
    let depends_on = |tree: &str, name: &str| {
        tree.lines()
            .any(|line| line.split(' ').next() == Some(name))
    };
    for (feature, tls) in [("redis", false), ("redis-tls", true)] {
        let tree = tree(feature);
        assert!(depends_on(&tree, "redis"), "{tree}");
        for name in ["rustls", "ring", "tokio-rustls"] {
            assert_eq!(depends_on(&tree, name), tls, "{feature}: {name}");
        }
    }
}
