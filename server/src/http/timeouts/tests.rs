use std::net::Ipv4Addr;

use super::*;

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn monitored(limits: ConnectionLimits) -> (Arc<ConnectionMonitor>, Arc<Activity>, ConnectionGuard) {
    let monitor = ConnectionMonitor::new(limits, Arc::default());
    let activity = monitor.activity(false);
    let guard = monitor.track(&activity, ADDRESS);
    (monitor, activity, guard)
}

fn limits() -> ConnectionLimits {
    ConnectionLimits {
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(60),
        stall_timeout: Duration::from_secs(30),
        ..ConnectionLimits::default()
    }
}

/// Returns the seconds after `start` at which the monitor, sweeping every second, requests an
/// immediate shutdown.
fn closed_after(monitor: &ConnectionMonitor, activity: &Activity, start: Instant) -> Option<u64> {
    (0..200).find(|seconds| {
        monitor.sweep(start + Duration::from_secs(*seconds));
        activity.shutdown() == Shutdown::Immediate
    })
}

#[test]
fn a_silent_connection_is_closed_after_the_header_timeout() {
    let (monitor, activity, _guard) = monitored(limits());
    let closed = closed_after(&monitor, &activity, Instant::now());
    assert!((10..=11).contains(&closed.unwrap()), "{closed:?}");
}

#[test]
fn single_bytes_do_not_extend_the_header_timeout() {
    let (monitor, activity, _guard) = monitored(limits());
    let start = Instant::now();
    for seconds in 0..9 {
        activity.record_read();
        monitor.sweep(start + Duration::from_secs(seconds));
    }
    assert_eq!(activity.shutdown(), Shutdown::None);
    activity.record_read();
    monitor.sweep(start + Duration::from_secs(11));
    assert_eq!(activity.shutdown(), Shutdown::Immediate);
}

#[test]
fn the_idle_timeout_applies_between_requests_and_then_the_header_timeout() {
    let (monitor, activity, _guard) = monitored(limits());
    activity.record_header(false);
    let start = Instant::now();
    for seconds in 0..55 {
        monitor.sweep(start + Duration::from_secs(seconds));
    }
    activity.record_read();
    let closed = closed_after(&monitor, &activity, start + Duration::from_secs(55));
    assert!((10..=11).contains(&closed.unwrap()), "{closed:?}");

    let (monitor, activity, _guard) = monitored(limits());
    activity.record_header(false);
    let closed = closed_after(&monitor, &activity, Instant::now());
    assert!((60..=61).contains(&closed.unwrap()), "{closed:?}");
}

#[test]
fn a_request_that_reads_its_body_is_not_idle() {
    let (monitor, activity, _guard) = monitored(limits());
    activity.record_header(false);
    let reading = activity.reading_body();
    assert_eq!(closed_after(&monitor, &activity, Instant::now()), None);
    activity.record_read();
    drop(reading);
    let closed = closed_after(&monitor, &activity, Instant::now());
    assert!(
        (60..=61).contains(&closed.unwrap()),
        "bytes of the body do not begin a header: {closed:?}"
    );
}

#[test]
fn a_client_may_send_for_30_seconds_after_a_response_that_ended_its_request() {
    let (monitor, activity, _guard) = monitored(limits());
    activity.record_header(false);
    activity.record_lingering();
    let closed = closed_after(&monitor, &activity, Instant::now());
    assert!((30..=31).contains(&closed.unwrap()), "{closed:?}");
}

#[test]
fn a_client_that_does_not_read_is_closed_after_the_stall_timeout() {
    let (monitor, activity, _guard) = monitored(limits());
    activity.record_header(false);
    activity.record_write(1000, 500);
    let closed = closed_after(&monitor, &activity, Instant::now());
    assert!((30..=31).contains(&closed.unwrap()), "{closed:?}");
}

#[test]
fn a_client_that_reads_slowly_is_not_closed_above_the_minimum_rate() {
    for (rate, is_closed) in [(1001, false), (500, true)] {
        let (monitor, activity, _guard) = monitored(limits());
        activity.record_header(false);
        let start = Instant::now();
        let closed = (0..1000).find(|seconds| {
            activity.record_write(rate, 500);
            monitor.sweep(start + Duration::from_secs(*seconds));
            activity.shutdown() == Shutdown::Immediate
        });
        assert_eq!(closed.is_some(), is_closed, "{rate} bytes per second");
        assert!(closed.is_none_or(|seconds| (59..=60).contains(&seconds)));
    }
}

#[test]
fn a_response_that_waits_for_a_silent_upstream_is_not_idle() {
    let (monitor, activity, _guard) = monitored(limits());
    activity.record_header(false);
    let streaming = activity.streaming();
    assert_eq!(closed_after(&monitor, &activity, Instant::now()), None);
    drop(streaming);
}

#[test]
fn the_client_that_holds_most_memory_loses_its_connections() {
    let monitor = ConnectionMonitor::new(
        ConnectionLimits {
            max_unread_bytes: 1000,
            ..limits()
        },
        Arc::default(),
    );
    let connect = |address: &str, bytes| {
        let activity = monitor.activity(false);
        let guard = monitor.track(&activity, address.parse().unwrap());
        let reservation = activity.memory().try_reserve(bytes).unwrap();
        (activity, guard, reservation)
    };
    let single = connect("192.0.2.1", 300);
    let many: Vec<_> = (1..=6)
        .map(|last| connect(&format!("2001:db8::{last}"), 100 + last))
        .collect();
    monitor.release_memory();
    let closed = |activity: &Activity| activity.shutdown() == Shutdown::Immediate;
    assert!(
        !closed(&single.0),
        "the largest connection, but not the largest holder"
    );
    let closed: Vec<_> = many.iter().map(|held| closed(&held.0)).collect();
    assert_eq!(closed, [false, false, false, false, false, true]);
    assert!(single.0.memory().try_reserve(200).is_none());
    drop(many);
    assert!(single.0.memory().try_reserve(200).is_some());
}

#[tokio::test]
async fn a_graceful_shutdown_waits_for_the_last_connection() {
    let (monitor, activity, guard) = monitored(limits());
    activity.record_header(false);
    let shutting_down = tokio::spawn({
        let monitor = Arc::clone(&monitor);
        async move { monitor.shut_down(Duration::from_secs(60)).await }
    });
    while activity.shutdown() == Shutdown::None {
        tokio::task::yield_now().await;
    }
    assert_eq!(activity.shutdown(), Shutdown::Graceful);
    assert!(!shutting_down.is_finished());
    drop(guard);
    shutting_down.await.unwrap();
    let late = monitor.activity(false);
    let _guard = monitor.track(&late, ADDRESS);
    assert_eq!(
        late.shutdown(),
        Shutdown::AfterFirst,
        "a late connection is shut down as well"
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_request_is_given_a_second_for_it() {
    let (monitor, activity, guard) = monitored(limits());
    let shutting_down = tokio::spawn({
        let monitor = Arc::clone(&monitor);
        async move { monitor.shut_down(Duration::from_secs(60)).await }
    });
    tokio::time::sleep(Duration::from_millis(999)).await;
    assert_eq!(activity.shutdown(), Shutdown::AfterFirst);
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(activity.shutdown(), Shutdown::Graceful);
    drop(guard);
    shutting_down.await.unwrap();
}
