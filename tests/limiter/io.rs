//! Bandwidth of readers, writers and bodies under virtual time.

use std::{io, num::NonZero, pin::Pin, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    time::Instant,
};
use tollgate::{Bucket, KeyedLimiter, Quota, TokioClock, io::Limited};

/// 1000 tokens a second, 100 at once.
fn bucket() -> Arc<Bucket> {
    let quota = Quota::per_second(1000).with_capacity(100);
    Arc::new(Bucket::with_clock(quota, TokioClock::new()))
}

/// Seconds in which the bucket pays for so many tokens, from full.
fn seconds(tokens: f64) -> f64 {
    (tokens - 100.0) / 1000.0
}

fn assert_took(began: Instant, expected: f64) {
    let elapsed = began.elapsed().as_secs_f64();
    // A timer of tokio has a resolution of a millisecond, and each piece has its own.
    assert!(
        elapsed >= expected - 1e-6 && elapsed < expected * 1.1 + 0.01,
        "{elapsed} s, expected {expected}"
    );
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

/// *Caught:* bytes that are delivered before they are paid; bytes that are paid twice; lost bytes.
#[tokio::test(start_paused = true)]
async fn reader_delivers_all_bytes_at_the_rate() {
    let (data, bucket) = (bytes(3000), bucket());
    let began = Instant::now();
    let mut reader = Limited::new(&data[..], Arc::clone(&bucket));
    let mut read = Vec::new();
    let mut part = [0; 37];
    loop {
        let length = reader.read(&mut part).await.unwrap();
        if length == 0 {
            break;
        }
        read.extend_from_slice(&part[..length]);
        let elapsed = began.elapsed().as_secs_f64();
        assert!(
            read.len() as f64 <= 100.0 + 1000.0 * elapsed + 1e-3,
            "{} bytes after {elapsed} s",
            read.len()
        );
    }
    assert_eq!(read, data);
    assert_took(began, seconds(3000.0));
    assert_eq!(bucket.available(), 0);
}

/// *Caught:* bytes that are written before they are paid; a short write that is paid twice.
#[tokio::test(start_paused = true)]
async fn writer_writes_all_bytes_at_the_rate() {
    let (data, bucket) = (bytes(3000), bucket());
    // The other end accepts 7 bytes at a time.
    let (near, mut far) = duplex(7);
    let began = Instant::now();
    let mut writer = Limited::new(near, Arc::clone(&bucket));
    let write = async {
        writer.write_all(&data).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut read = vec![0; 3000];
    let receive = async {
        for (n, byte) in read.iter_mut().enumerate() {
            *byte = far.read_u8().await.unwrap();
            let elapsed = began.elapsed().as_secs_f64();
            assert!(
                (n + 1) as f64 <= 100.0 + 1000.0 * elapsed + 1e-3,
                "{n} bytes after {elapsed} s"
            );
        }
    };
    tokio::join!(write, receive);
    assert_eq!(read, data);
    assert_took(began, seconds(3000.0));
}

/// *Caught:* a unit that is ignored; a rest of a token that is lost.
#[tokio::test(start_paused = true)]
async fn a_token_pays_for_a_unit_of_bytes() {
    const UNIT: NonZero<u32> = NonZero::new(16).unwrap();
    let (data, bucket) = (bytes(16_000), bucket());
    let began = Instant::now();
    let mut sink = Limited::new(tokio::io::sink(), Arc::clone(&bucket)).with_unit(UNIT);
    for piece in data.chunks(3) {
        sink.write_all(piece).await.unwrap();
    }
    assert_took(began, seconds(1000.0));

    let began = Instant::now();
    let mut reader = Limited::new(&data[..], bucket).with_unit(UNIT);
    let mut read = Vec::new();
    reader.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, data);
    // The bucket was empty.
    assert_took(began, 1.0);
}

/// *Caught:* a wait that a dropped read forgets.
#[tokio::test(start_paused = true)]
async fn a_dropped_read_loses_nothing_and_pays_everything() {
    let (data, bucket) = (bytes(500), bucket());
    let began = Instant::now();
    let read = |bucket: Arc<Bucket>| {
        let data = data.clone();
        async move {
            let (mut reader, mut read) = (Limited::new(&data[..], bucket), Vec::new());
            while read.len() < data.len() {
                let mut part = [0; 64];
                let reading = reader.read(&mut part);
                if let Ok(length) = tokio::time::timeout(Duration::from_millis(3), reading).await {
                    read.extend_from_slice(&part[..length.unwrap()]);
                }
            }
            assert_eq!(read, data);
        }
    };
    tokio::join!(read(Arc::clone(&bucket)), read(Arc::clone(&bucket)));
    assert_took(began, seconds(1000.0));
}

#[tokio::test(start_paused = true)]
async fn errors_and_the_end_pass() {
    struct Broken;
    impl tokio::io::AsyncRead for Broken {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            _: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            std::task::Poll::Ready(Err(io::Error::other("broken")))
        }
    }
    let bucket = bucket();
    let mut broken = Limited::new(Broken, Arc::clone(&bucket));
    assert_eq!(broken.read_u8().await.unwrap_err().to_string(), "broken");
    let mut empty = Limited::new(tokio::io::empty(), Arc::clone(&bucket));
    assert_eq!(empty.read(&mut [0; 8]).await.unwrap(), 0);
    assert_eq!(empty.write(&[]).await.unwrap(), 0);
    empty.flush().await.unwrap();
    assert_eq!(bucket.available(), 100);
}

/// 1000 tokens a second for each key, 100 at once.
fn limiter(max_keys: usize) -> Arc<KeyedLimiter<str>> {
    let quota = Quota::per_second(1000).with_capacity(100);
    let builder = KeyedLimiter::builder(quota).clock(TokioClock::new());
    Arc::new(builder.max_keys(max_keys).build().unwrap())
}

async fn read_all(data: &[u8], bucket: impl Into<tollgate::io::SharedBucket>) {
    let (mut reader, mut read) = (Limited::new(data, bucket), Vec::new());
    reader.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, data);
}

/// *Caught:* a bucket for each stream; one for all keys.
#[tokio::test(start_paused = true)]
async fn streams_of_a_key_share_its_bucket() {
    let (data, limiter) = (bytes(1000), limiter(100));
    let began = Instant::now();
    let alice = async {
        let read = || read_all(&data, limiter.key("alice"));
        tokio::join!(read(), read(), read());
        assert_took(began, seconds(3000.0));
    };
    let bob = async {
        read_all(&data, limiter.key("bob")).await;
        assert_took(began, seconds(1000.0));
    };
    tokio::join!(alice, bob);
    assert_eq!(limiter.available("alice"), 0);
    assert_eq!(limiter.available("carol"), 100);
}

/// *Caught:* a piece of the capacity of other keys; one bucket for all keys.
#[tokio::test(start_paused = true)]
async fn a_stream_follows_the_rule_of_its_key() {
    let (data, limiter) = (bytes(1000), limiter(100));
    let rule = Quota::per_second(100).with_capacity(10);
    limiter.set_rule("alice", rule);
    let mut reader = Limited::new(&data[..], limiter.key("alice"));
    assert_eq!(reader.read(&mut [0; 100]).await.unwrap(), 10);
    limiter.reset("alice");
    let began = Instant::now();
    let stream = read_all(&data, limiter.key("alice"));
    let change = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        limiter.remove_rule("alice");
    };
    tokio::join!(stream, change);
    // 510 bytes in 5 s, and the others at the quota of all keys, of which 100 at once.
    assert_took(began, 5.0 + (1000.0 - 510.0 - 100.0) / 1000.0);
}

/// *Caught:* bytes that are free when too many keys wait.
#[tokio::test(start_paused = true)]
async fn a_stream_without_a_line_pays_as_well() {
    let (data, limiter) = (bytes(1000), limiter(1));
    let began = Instant::now();
    let read = async |key| {
        read_all(&data, limiter.key(key)).await;
        let elapsed = began.elapsed().as_secs_f64();
        assert!(elapsed >= seconds(1000.0) - 1e-6, "{key}: {elapsed} s");
        assert!(elapsed < 10.0, "{key}: {elapsed} s");
    };
    tokio::join!(read("alice"), read("bob"), read("carol"));
}

#[cfg(feature = "tower")]
mod body {
    use axum::body::{Body, Bytes};
    use futures_util::stream;
    use http_body::Body as _;
    use http_body_util::{BodyExt, Full, StreamBody};
    use tollgate::io::LimitedBody;

    use super::*;

    /// *Caught:* a frame that is delivered before it is paid; a frame that is lost.
    #[tokio::test(start_paused = true)]
    async fn body_delivers_all_frames_at_the_rate() {
        let (data, bucket) = (bytes(3000), bucket());
        let frames: Vec<_> = data
            .chunks(700)
            .map(|chunk| Ok::<_, io::Error>(Bytes::copy_from_slice(chunk)))
            .collect();
        let inner = Body::from_stream(stream::iter(frames));
        let began = Instant::now();
        let mut body = LimitedBody::new(inner, Arc::clone(&bucket));
        let mut read = Vec::new();
        while let Some(frame) = body.frame().await {
            read.extend_from_slice(&frame.unwrap().into_data().unwrap());
            let elapsed = began.elapsed().as_secs_f64();
            assert!(read.len() as f64 <= 100.0 + 1000.0 * elapsed + 1e-3);
        }
        assert_eq!(read, data);
        assert_took(began, seconds(3000.0));
        assert!(body.is_end_stream() || body.frame().await.is_none());
    }

    /// *Caught:* a length without the frame that is held back.
    #[tokio::test(start_paused = true)]
    async fn length_and_trailers_pass() {
        let mut body = LimitedBody::new(Full::new(Bytes::from(bytes(300))), bucket());
        assert_eq!(body.size_hint().exact(), Some(300));
        {
            let frame = body.frame();
            let waits = tokio::time::timeout(Duration::from_millis(50), frame).await;
            assert!(waits.is_err());
        }
        assert_eq!(body.size_hint().exact(), Some(300));
        assert!(!body.is_end_stream());
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), 300);

        let trailers =
            http::HeaderMap::from_iter([(http::header::ETAG, http::HeaderValue::from_static("a"))]);
        let frames = [Ok::<_, io::Error>(http_body::Frame::<Bytes>::trailers(
            trailers,
        ))];
        let bucket = bucket();
        let body = LimitedBody::new(StreamBody::new(stream::iter(frames)), Arc::clone(&bucket));
        assert!(body.collect().await.unwrap().trailers().is_some());
        assert_eq!(bucket.available(), 100);
    }
}

#[cfg(feature = "futures")]
mod items {
    use futures_util::{SinkExt, Stream, StreamExt, sink, stream};
    use tollgate::io::{LimitedSink, LimitedStream};

    use super::*;

    /// *Caught:* an item that is delivered before it is paid; a cost that is ignored.
    #[tokio::test(start_paused = true)]
    async fn stream_delivers_all_items_at_the_rate() {
        let bucket = bucket();
        let began = Instant::now();
        let items = stream::iter(1..=300_u32);
        let mut items = LimitedStream::new(items, Arc::clone(&bucket)).with_cost(|item| item % 3);
        let (mut next, mut paid) = (1, 0);
        while let Some(item) = items.next().await {
            assert_eq!(item, next);
            (next, paid) = (next + 1, paid + item % 3);
            let elapsed = began.elapsed().as_secs_f64();
            assert!(f64::from(paid) <= 100.0 + 1000.0 * elapsed + 1e-3);
        }
        assert_eq!((next, paid), (301, 300));
        assert_took(began, seconds(300.0));
    }

    /// *Caught:* a length without the item that is held back.
    #[tokio::test(start_paused = true)]
    async fn stream_counts_the_item_that_it_holds() {
        let items = stream::iter([50_u32, 100]);
        let mut items = LimitedStream::new(items, bucket()).with_cost(|cost| *cost);
        assert_eq!(items.size_hint(), (2, Some(2)));
        assert_eq!(items.next().await, Some(50));
        let held = tokio::time::timeout(Duration::from_millis(5), items.next()).await;
        assert!(held.is_err());
        assert_eq!(items.size_hint(), (1, Some(1)));
        assert_eq!(items.next().await, Some(100));
        assert_eq!(items.next().await, None);
    }

    /// *Caught:* an item that is passed on before it is paid; one that is lost at the end.
    #[tokio::test(start_paused = true)]
    async fn sink_passes_all_items_at_the_rate() {
        let (bucket, began) = (bucket(), Instant::now());
        let mut passed = Vec::new();
        let inner = sink::unfold((), |(), item: u32| {
            passed.push((item, began.elapsed().as_secs_f64()));
            std::future::ready(Ok::<_, io::Error>(()))
        });
        let mut outgoing = LimitedSink::new(Box::pin(inner), Arc::clone(&bucket));
        for item in 0..300 {
            outgoing.feed(item).await.unwrap();
        }
        outgoing.close().await.unwrap();
        drop(outgoing);
        for (n, (item, elapsed)) in passed.iter().enumerate() {
            assert_eq!(*item, n as u32);
            assert!((n + 1) as f64 <= 100.0 + 1000.0 * elapsed + 1e-3);
        }
        assert_eq!(passed.len(), 300);
        assert_took(began, seconds(300.0));
    }
}
