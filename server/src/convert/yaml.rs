//! Trees of YAML documents, bounded in depth and in the values that aliases repeat.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};
use serde_json::{Map, Value};

/// Maximum depth of lists and tables.
const MAX_DEPTH: usize = 64;

/// Maximum number of values of all documents, those of aliases included.
const MAX_VALUES: usize = 200_000;

/// Parses a stream of documents.
///
/// # Errors
/// The line, and what was expected.
pub(crate) fn documents(text: &str) -> Result<Vec<Value>, String> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| scan_error(&error))?;
        let at_line = |error: &str| format!("line {}: {error}", span.start.line());
        builder.event(event).map_err(|error| at_line(&error))?;
    }
    Ok(builder.documents)
}

fn scan_error(error: &ScanError) -> String {
    format!("line {}: not YAML: {}", error.marker().line(), error.info())
}

#[derive(Default)]
struct Builder {
    documents: Vec<Value>,
    /// Open lists and tables.
    open: Vec<Open>,
    anchors: HashMap<usize, (Value, usize)>,
    values: usize,
}

struct Open {
    anchor: usize,
    /// Number of values before it.
    start: usize,
    value: Collection,
}

enum Collection {
    List(Vec<Value>),
    /// With a key that has no value yet.
    Table(Map<String, Value>, Option<String>),
}

impl Builder {
    fn event(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::SequenceStart(anchor, _) => self.begin(anchor, Collection::List(Vec::new())),
            Event::MappingStart(anchor, _) => {
                self.begin(anchor, Collection::Table(Map::new(), None))
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else {
                    return Ok(());
                };
                let value = match open.value {
                    Collection::List(items) => Value::Array(items),
                    Collection::Table(fields, _) => Value::Object(fields),
                };
                let count = self.values - open.start;
                self.remember(open.anchor, &value, count);
                self.add(value)
            }
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = tag.is_some_and(|tag| tag.suffix == "str");
                let value = if style == ScalarStyle::Plain && !is_text {
                    plain(&text)
                } else {
                    Value::String(text.into_owned())
                };
                self.count(1)?;
                self.remember(anchor, &value, 1);
                self.add(value)
            }
            Event::Alias(anchor) => {
                let (value, count) = self
                    .anchors
                    .get(&anchor)
                    .cloned()
                    .ok_or("expected an anchor that ends before its alias")?;
                self.count(count)?;
                self.add(value)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn begin(&mut self, anchor: usize, value: Collection) -> Result<(), String> {
        if self.open.len() >= MAX_DEPTH {
            return Err(format!("expected at most {MAX_DEPTH} levels, got more"));
        }
        let start = self.values;
        self.count(1)?;
        self.open.push(Open {
            anchor,
            start,
            value,
        });
        Ok(())
    }

    fn count(&mut self, values: usize) -> Result<(), String> {
        self.values = self.values.saturating_add(values);
        if self.values > MAX_VALUES {
            return Err(format!("expected at most {MAX_VALUES} values, got more"));
        }
        Ok(())
    }

    /// Keeps a value for its aliases. Values without an anchor have the number 0.
    fn remember(&mut self, anchor: usize, value: &Value, count: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, (value.clone(), count));
        }
    }

    fn add(&mut self, value: Value) -> Result<(), String> {
        let Some(open) = self.open.last_mut() else {
            self.documents.push(value);
            return Ok(());
        };
        match &mut open.value {
            Collection::List(items) => items.push(value),
            Collection::Table(fields, key) => match key.take() {
                None => *key = Some(name(value)?),
                Some(name) if name == "<<" => merge(fields, value),
                Some(name) => {
                    fields.insert(name, value);
                }
            },
        }
        Ok(())
    }
}

/// Returns the name of a field.
fn name(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Array(_) | Value::Object(_) => Err("expected the name of a field".to_owned()),
        other => Ok(other.to_string()),
    }
}

/// Adds the fields of a merge key that are not there already.
fn merge(fields: &mut Map<String, Value>, value: Value) {
    match value {
        Value::Object(more) => {
            for (name, value) in more {
                fields.entry(name).or_insert(value);
            }
        }
        Value::Array(tables) => {
            for table in tables.into_iter().filter(Value::is_object) {
                merge(fields, table);
            }
        }
        _ => {}
    }
}

/// Returns the value of a plain scalar.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    match text.parse::<i64>() {
        Ok(number) => Value::from(number),
        Err(_) => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_are_trees() {
        let parsed = documents(
            "a: &x {b: 1, c: [yes, 'true', null, 2.5]}\nd:\n  <<: *x\n  b: 2\n---\n- !!str 5\n- |\n  two\n  lines\n",
        )
        .unwrap();
        let inner = json!(["yes", "true", null, "2.5"]);
        assert_eq!(
            parsed,
            [
                json!({"a": {"b": 1, "c": inner}, "d": {"b": 2, "c": inner}}),
                json!(["5", "two\nlines\n"]),
            ]
        );
        assert!(documents("").unwrap().len() <= 1);
    }

    #[test]
    fn hostile_documents_are_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..30 {
            let before = level - 1;
            bomb += &format!(
                "a{level}: &a{level} [{}]\n",
                format!("*a{before}, ").repeat(10)
            );
        }
        assert!(documents(&bomb).unwrap_err().contains("values, got more"));
        for text in ["- ".repeat(100_000), "[".repeat(200), "{a: ".repeat(200)] {
            assert!(documents(&text).is_err());
        }
        for text in [
            "a: [",
            "a: 'b",
            "a: *b",
            "&a [*a]",
            "? [a]\n: b",
            "\ta: 1\n b",
            "%x\n",
            "{{ if }}",
        ] {
            let error = documents(text).unwrap_err();
            assert!(error.starts_with("line "), "{text}: {error}");
        }
    }
}
