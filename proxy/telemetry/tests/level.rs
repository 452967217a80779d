//! The log's level, changed while it runs. One test: a process has one log.

use tollgate_telemetry::{LogsError, init_logs};

#[test]
fn the_level_is_changed_while_it_runs() {
    let logs = init_logs("info", true).unwrap();
    let level = logs.level();
    let said = || {
        (
            tracing::enabled!(target: "access", tracing::Level::INFO),
            tracing::enabled!(tracing::Level::INFO),
            tracing::enabled!(tracing::Level::DEBUG),
        )
    };
    assert_eq!(said(), (true, true, false));
    assert_eq!(level.filter(), "info");

    assert_eq!(level.set_filter("debug").unwrap(), "info");
    assert_eq!(said(), (true, true, true));
    let clone = level.clone();
    assert_eq!(clone.set_filter("info,access=off").unwrap(), "debug");
    assert_eq!(said(), (false, true, false));

    for wrong in [
        "",
        " ",
        "loud",
        "a=b=c",
        "[x]=debug",
        "a[{y}]=info",
        &"x,".repeat(1000),
    ] {
        let refused = level.set_filter(wrong);
        assert!(
            matches!(refused, Err(LogsError::Level(_))),
            "{wrong}: {refused:?}"
        );
    }
    assert_eq!(
        (said(), level.filter()),
        ((false, true, false), "info,access=off".into())
    );
    assert!(matches!(init_logs("info", true), Err(LogsError::Twice)));
    assert_eq!(level.lost(), 0);
}
