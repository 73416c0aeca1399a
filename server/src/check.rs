//! `POST /check`: other services ask whether somebody may pass, and act on the answer themselves.
//!
//! Each question names a key and a cost; a list of questions gets a list of answers, one after
//! another, so that a key that stands in it twice is charged twice. Everything is read and checked
//! before anything is decided.

use std::time::Duration;

use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use tollgate::{Decision, tower};

use crate::{
    answer::{self, Answer},
    app::App,
    client::Id,
    json::{self, Fault},
    values::{Table, Tokens, Typed},
};

/// Questions in a list.
const MAX_QUESTIONS: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    key: String,
    #[serde(default = "one")]
    cost: Typed<Tokens>,
}

fn one() -> Typed<Tokens> {
    Typed(Tokens(1))
}

/// The answer to a question; times in seconds.
#[derive(Serialize)]
struct Verdict {
    allowed: bool,
    limit: u32,
    remaining: u32,
    /// `None`: allowed, or never going to be.
    retry_after: Option<f64>,
    reset_after: f64,
}

/// Decides what is asked in this body.
pub(crate) async fn answer(app: &App, body: &[u8]) -> Answer {
    let is_list = body.trim_ascii_start().first() == Some(&b'[');
    match if is_list {
        list(body)
    } else {
        json::read(body).map(|Table(question)| vec![question])
    } {
        Ok(questions) => decide(app, &questions, is_list).await,
        Err(fault) => fault.answer(),
    }
}

fn list(body: &[u8]) -> Result<Vec<Question>, Fault> {
    let questions: Vec<Table<Question>> = json::read(body)?;
    if questions.len() > MAX_QUESTIONS {
        return Err(Fault::new(
            "",
            format!(
                "{} questions: expected at most {MAX_QUESTIONS}",
                questions.len()
            ),
        ));
    }
    Ok(questions
        .into_iter()
        .map(|Table(question)| question)
        .collect())
}

async fn decide(app: &App, questions: &[Question], is_list: bool) -> Answer {
    let asked = match questions
        .iter()
        .enumerate()
        .map(|(number, question)| who(app, question, number, is_list))
        .collect()
    {
        Ok(asked) => asked,
        Err(fault) => return Fault::answer(&fault),
    };
    let asked: Vec<(Id<'_>, u32)> = asked;
    let (mut verdicts, mut without_redis) = (Vec::with_capacity(asked.len()), None);
    for (id, cost) in &asked {
        let decided = app.decide(id, *cost).await;
        let decision = &decided.decision;
        tracing::debug!(client = %app.shown(*id), path = "/check", cost, outcome = ?decision.outcome(), "request");
        verdicts.push(Verdict::of(decision));
        without_redis = without_redis.or(decided.without_redis());
    }
    let answer = match verdicts.as_slice() {
        [verdict] if !is_list => answer::value(StatusCode::OK, verdict),
        verdicts => answer::value(StatusCode::OK, &verdicts),
    };
    without_redis
        .into_iter()
        .fold(answer, answer::without_redis)
}

fn who<'a>(
    app: &App,
    question: &'a Question,
    number: usize,
    is_list: bool,
) -> Result<(Id<'a>, u32), Fault> {
    let Question {
        key,
        cost: Typed(Tokens(cost)),
    } = question;
    let field = || {
        if is_list {
            format!("[{number}].key")
        } else {
            "key".to_owned()
        }
    };
    let id = app
        .identify
        .asked_for(key)
        .map_err(|expected| Fault::new(field(), expected))?;
    Ok((id, *cost))
}

impl Verdict {
    fn of(decision: &Decision) -> Verdict {
        Verdict {
            allowed: !decision.is_refused(),
            limit: decision.limit(),
            remaining: decision.remaining(),
            retry_after: tower::retry_after(decision)
                .as_ref()
                .map(Duration::as_secs_f64),
            reset_after: decision.reset_after().as_secs_f64(),
        }
    }
}
