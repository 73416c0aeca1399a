//! Reading what a request carries: so much, and so long, and no more.

use std::fmt;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    StatusCode,
    body::{Body, Buf},
};

use super::{App, Handled, Wants};
use crate::{
    admin,
    answer::{self, Answer},
    check,
};

/// What the admin API reads at most, and `POST /check`.
const MAX_ADMIN_BYTES: usize = 64 * 1024;

/// What is read of a body at most after a refusal, so that the connection can go on.
const MAX_DRAINED_BYTES: usize = 1024 * 1024;

/// The answer was given before the request had been read: the connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    TooLarge,
    TooSlow,
    Broken,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unread::TooLarge => "the body is too large",
            Unread::TooSlow => "the body comes too slowly",
            Unread::Broken => "the body is broken",
        })
    }
}

impl std::error::Error for Unread {}

/// Reads the body and completes the answer. A body that nobody wants is read too, so that the
/// connection can go on, unless the client waits for leave to send it and is not going to get it.
pub(crate) async fn finish<B>(
    app: &App,
    handled: Handled,
    body: B,
    expects_leave: bool,
) -> (Answer, Option<Unread>)
where
    B: Body + Unpin,
{
    let Handled { answer, wants } = handled;
    if matches!(wants, Wants::Nothing) && expects_leave {
        return (answer, None);
    }
    let most = match wants {
        Wants::NewDefault | Wants::NewRule | Wants::Asked => {
            MAX_ADMIN_BYTES.min(app.bounds.max_body_bytes)
        }
        Wants::Nothing if answer.status().is_client_error() => {
            MAX_DRAINED_BYTES.min(app.bounds.max_body_bytes)
        }
        _ => app.bounds.max_body_bytes,
    };
    let keep = !matches!(wants, Wants::Nothing | Wants::RuleRemoved(_));
    let reading = read(body, most, keep);
    let result = tokio::time::timeout(app.bounds.body_timeout, reading)
        .await
        .unwrap_or(Err(Unread::TooSlow));
    match result {
        Ok(data) => (complete(app, answer, wants, &data).await, None),
        Err(unread) => (answer::closing(incomplete(answer, unread)), Some(unread)),
    }
}

async fn read<B: Body + Unpin>(mut body: B, most: usize, keep: bool) -> Result<Vec<u8>, Unread> {
    if body.size_hint().lower() > most as u64 {
        return Err(Unread::TooLarge);
    }
    let (mut data, mut length) = (Vec::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        let Ok(mut part) = frame.map_err(|_| Unread::Broken)?.into_data() else {
            continue;
        };
        length = length.saturating_add(part.remaining());
        if length > most {
            return Err(Unread::TooLarge);
        }
        while keep && part.has_remaining() {
            let count = part.chunk().len();
            data.extend_from_slice(part.chunk());
            part.advance(count);
        }
    }
    Ok(data)
}

async fn complete(app: &App, mut answer: Answer, wants: Wants, data: &[u8]) -> Answer {
    match wants {
        // Who answers a proxied request reads its body, too.
        Wants::Nothing | Wants::Proxied(..) => answer,
        Wants::Submitted => {
            *answer.body_mut() = Full::new(answer::submitted(data));
            answer
        }
        Wants::NewDefault => admin::change_default(app, data).await,
        Wants::NewRule => admin::change_rule(app, data).await,
        Wants::Asked => check::answer(app, data).await,
        Wants::RuleRemoved(client_id) => admin::remove_rule(app, &client_id).await,
    }
}

/// The answer with its headers, but another text. Who was refused anyway hears of that and nothing
/// else.
pub(crate) fn incomplete(mut answer: Answer, unread: Unread) -> Answer {
    if answer.status().is_client_error() && answer.status() != StatusCode::NOT_FOUND {
        return answer;
    }
    let (status, body) = match unread {
        Unread::TooLarge => (
            StatusCode::PAYLOAD_TOO_LARGE,
            r#"{"error": "Payload Too Large"}"#,
        ),
        Unread::TooSlow => (
            StatusCode::REQUEST_TIMEOUT,
            r#"{"error": "Request Timeout"}"#,
        ),
        Unread::Broken => (StatusCode::BAD_REQUEST, r#"{"error": "Bad Request"}"#),
    };
    *answer.status_mut() = status;
    *answer.body_mut() = Full::new(Bytes::from_static(body.as_bytes()));
    answer
}
