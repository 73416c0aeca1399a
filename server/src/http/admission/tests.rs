use super::{
    super::activity::{Activity, Shutdown},
    *,
};
use crate::memory::TotalMemory;

const LARGE: [u8; 4] = [192, 0, 2, 1];
const SMALL: [u8; 4] = [192, 0, 2, 2];
const NEW: [u8; 4] = [192, 0, 2, 3];
const LOOPBACK: [u8; 4] = [127, 0, 0, 1];

/// An open connection, as the server sees it.
struct Open {
    activity: Arc<Activity>,
    permit: Option<Permit>,
}

impl Open {
    fn is_evicted(&self) -> bool {
        self.activity.shutdown() == Shutdown::IfIdle
    }

    /// Ends, as the connection's task does when it is evicted while idle.
    fn end(&mut self) {
        self.permit = None;
    }
}

fn admission(max: usize) -> Arc<Admission> {
    with_bound(max, None)
}

fn with_bound(max: usize, max_per_address: Option<usize>) -> Arc<Admission> {
    let limits = PermitLimits {
        max,
        max_per_address,
    };
    Admission::new(limits, Arc::default())
}

fn from(address: [u8; 4]) -> Origin {
    Origin {
        network: address.into(),
        is_trusted: false,
        is_loopback: address[0] == 127,
    }
}

fn trusted(address: [u8; 4]) -> Origin {
    Origin {
        is_trusted: true,
        ..from(address)
    }
}

fn request(admission: &Arc<Admission>, origin: Origin) -> (Admitted, Arc<Activity>) {
    let memory = TotalMemory::new(usize::MAX).connection(usize::MAX);
    let activity = Arc::new(Activity::new(memory));
    (admission.admit(origin, &activity), activity)
}

fn open(admission: &Arc<Admission>, origin: Origin) -> Open {
    match request(admission, origin) {
        (Admitted::Now(permit), activity) => Open {
            activity,
            permit: Some(permit),
        },
        _ => panic!("no permit for {origin:?}"),
    }
}

fn crowd(admission: &Arc<Admission>, origin: Origin, count: usize) -> Vec<Open> {
    (0..count).map(|_| open(admission, origin)).collect()
}

fn wait(admission: &Arc<Admission>, origin: Origin) -> WaitingPermit {
    match request(admission, origin).0 {
        Admitted::Later(waiting) => waiting,
        Admitted::Now(_) => panic!("a permit for {origin:?}"),
        Admitted::Refused => panic!("refused: {origin:?}"),
    }
}

fn evicted(crowd: &[Open]) -> usize {
    crowd.iter().filter(|open| open.is_evicted()).count()
}

#[tokio::test]
async fn the_oldest_idle_connection_of_the_largest_holder_makes_room() {
    let admission = admission(10);
    let small = crowd(&admission, from(SMALL), 3);
    let mut large = crowd(&admission, from(LARGE), 7);
    for turn in 0..3 {
        let waiting = wait(&admission, from(NEW));
        assert_eq!(evicted(&large), turn + 1);
        assert!(large[turn].is_evicted());
        large[turn].end();
        // Kept open, so that the server stays full.
        std::mem::forget(waiting.granted().await.expect("a permit"));
    }
    assert_eq!(evicted(&small), 0);
}

#[test]
fn the_next_holder_follows_when_all_connections_of_the_largest_are_busy() {
    let admission = admission(9);
    let large = crowd(&admission, from(LARGE), 6);
    let _busy: Vec<_> = large
        .iter()
        .map(|open| open.activity.reading_body())
        .collect();
    let small = crowd(&admission, from(SMALL), 3);
    let _waiting = wait(&admission, from(NEW));
    assert_eq!((evicted(&large), evicted(&small)), (0, 1));
}

#[test]
fn a_holder_evicts_from_larger_ones_and_from_itself_only() {
    let admission = admission(4);
    let first = crowd(&admission, from(LARGE), 2);
    let _busy: Vec<_> = first
        .iter()
        .map(|open| open.activity.reading_body())
        .collect();
    let second = crowd(&admission, from(SMALL), 2);
    let waiting = wait(&admission, from(LARGE));
    assert_eq!(evicted(&second), 0, "the other one has as many connections");
    drop(waiting);
    let _waiting = wait(&admission, from(SMALL));
    assert_eq!(evicted(&second), 1, "it competes with itself");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_became_idle_makes_room_for_one_that_waits() {
    let admission = admission(1);
    let mut large = open(&admission, from(LARGE));
    let busy = large.activity.reading_body();
    let waiting = wait(&admission, from(NEW));
    let granted = tokio::spawn(waiting.granted());
    tokio::time::sleep(state::RETRY_INTERVAL * 3).await;
    assert!(!large.is_evicted());
    drop(busy);
    tokio::time::sleep(state::RETRY_INTERVAL * 3).await;
    assert!(large.is_evicted());
    large.end();
    assert!(granted.await.unwrap().is_some());
}

#[test]
fn a_refused_eviction_selects_another_connection() {
    let admission = admission(2);
    let large = crowd(&admission, from(LARGE), 2);
    let _waiting = wait(&admission, from(NEW));
    assert!(large[0].is_evicted());
    let _busy = large[0].activity.reading_body();
    let permit = large[0].permit.as_ref().unwrap();
    permit.refuse_eviction(&large[0].activity);
    assert!(!large[0].is_evicted() && large[1].is_evicted());
}

#[tokio::test]
async fn the_waiting_connection_of_the_smallest_holder_is_first() {
    let admission = admission(3);
    let mut large = crowd(&admission, from(LARGE), 3);
    let _busy: Vec<_> = large
        .iter()
        .map(|open| open.activity.reading_body())
        .collect();
    let of_large = wait(&admission, from(LARGE));
    let of_new = wait(&admission, from(NEW));
    large[1].end();
    assert!(of_new.granted().await.is_some());
    drop(of_large);
}

#[tokio::test]
async fn a_full_queue_drops_a_connection_of_the_largest_holder() {
    let admission = admission(1);
    let large = open(&admission, from(LARGE));
    let _busy = large.activity.reading_body();
    let honest = wait(&admission, from(NEW));
    let mut flood: Vec<_> = (0..200).map(|_| wait(&admission, from(LARGE))).collect();
    assert!(flood.remove(100).granted().await.is_none());
    drop(large);
    assert!(honest.granted().await.is_some());
}

#[test]
fn a_connection_that_leaves_the_queue_frees_the_permit_for_the_next() {
    let admission = admission(1);
    let mut large = open(&admission, from(LARGE));
    let first = wait(&admission, from(NEW));
    large.end();
    // Granted, but not received.
    drop(first);
    let _next = open(&admission, from(SMALL));
}

#[test]
fn trusted_proxies_are_never_evicted_and_evict_from_all() {
    let admission = with_bound(6, Some(4));
    let proxy = crowd(&admission, trusted(LARGE), 5);
    let client = crowd(&admission, from(SMALL), 1);
    let _waiting = wait(&admission, trusted(LARGE));
    assert_eq!((evicted(&proxy), evicted(&client)), (0, 1));
}

#[test]
fn an_address_gets_no_more_than_its_bound() {
    let admission = with_bound(100, Some(3));
    let mut held = crowd(&admission, from(LARGE), 3);
    let refused = request(&admission, from(LARGE)).0;
    assert!(matches!(refused, Admitted::Refused));
    let _other = crowd(&admission, from(SMALL), 3);
    held.pop();
    let _next = open(&admission, from(LARGE));
}

#[test]
fn an_address_waits_for_no_more_than_its_bound() {
    let admission = with_bound(2, Some(2));
    let busy = crowd(&admission, from(LARGE), 2);
    let _busy: Vec<_> = busy
        .iter()
        .map(|open| open.activity.reading_body())
        .collect();
    let _waiting = [wait(&admission, from(NEW)), wait(&admission, from(NEW))];
    let refused = request(&admission, from(NEW)).0;
    assert!(matches!(refused, Admitted::Refused));
}

#[test]
fn loopback_peers_get_reserved_permits_and_used_ones_are_reused() {
    let admission = admission(1);
    let large = open(&admission, from(LARGE));
    let _busy = large.activity.reading_body();
    let is_reserved = |open: &Open| open.permit.as_ref().unwrap().is_reserved();
    let mut reserve = Vec::new();
    for _ in 0..100 {
        let next = open(&admission, from(LOOPBACK));
        assert!(is_reserved(&next));
        next.activity.record_header(false);
        reserve.push(next);
        reserve.retain(|open| !open.is_evicted());
        assert!(reserve.len() <= 8, "{}", reserve.len());
    }
    let _busy: Vec<_> = reserve
        .iter()
        .map(|open| open.activity.reading_body())
        .collect();
    wait(&admission, from(LOOPBACK));
    let activity = Arc::clone(&reserve[0].activity);
    let origin = from(LOOPBACK);
    assert!(
        matches!(admission.readmit(origin, &activity), Admitted::Later(_)),
        "an ordinary permit is not taken from the reserve"
    );
    drop(large);
    assert!(!is_reserved(&open(&admission, from(LOOPBACK))));
}

#[tokio::test(start_paused = true)]
async fn a_reserved_permit_is_kept_for_the_first_request() {
    let admission = admission(1);
    let large = open(&admission, from(LARGE));
    let _busy = large.activity.reading_body();
    let mut silent = crowd(&admission, from(LOOPBACK), 8);
    let waiting = tokio::spawn(wait(&admission, from(LOOPBACK)).granted());
    tokio::time::sleep(state::RETRY_INTERVAL * 3).await;
    assert_eq!(evicted(&silent), 0);
    assert!(!waiting.is_finished());
    tokio::time::sleep(state::FIRST_REQUEST).await;
    assert_eq!(evicted(&silent), 1);
    assert!(waiting.await.unwrap().unwrap().is_reserved());
    silent[0].end();
}

#[test]
fn a_search_among_busy_connections_is_bounded_and_continues() {
    let admission = admission(2000);
    let large = crowd(&admission, from(LARGE), 2000);
    let _busy: Vec<_> = large[..1999]
        .iter()
        .map(|open| open.activity.reading_body())
        .collect();
    let mut searches = 0;
    while !large[1999].is_evicted() {
        drop(wait(&admission, from(NEW)));
        searches += 1;
    }
    assert!((2..=10).contains(&searches), "{searches}");
}
