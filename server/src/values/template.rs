//! Text with placeholders, which each response fills in.

use std::fmt::Write;

/// Names of the placeholders.
const NAMES: [&str; 5] = ["limit", "capacity", "remaining", "cost", "retry_after"];

/// Values of the placeholders.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    /// Name of the limit.
    pub(crate) limit: &'a str,
    pub(crate) capacity: u32,
    pub(crate) remaining: u32,
    pub(crate) cost: u32,
    /// Seconds until the request is allowed. `None`: it never is.
    pub(crate) retry_after: Option<u64>,
}

/// Syntax in which the text quotes the values of its placeholders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Syntax {
    Json,
    Html,
    Plain,
}

/// Text with placeholders such as `{retry_after}`. Other braces stand for themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    syntax: Syntax,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// Index in [`NAMES`].
    Placeholder(usize),
}

impl Template {
    /// Parses a text.
    ///
    /// # Errors
    /// A placeholder has another name, or a text of JSON is not JSON with all placeholders filled in.
    pub(crate) fn parse(text: &str, syntax: Syntax) -> Result<Template, String> {
        let mut parts = Vec::new();
        let (mut literal, mut rest) = (String::new(), text);
        while let Some(at) = rest.find('{') {
            let (before, after) = rest.split_at(at);
            literal.push_str(before);
            let name = placeholder(after);
            let Some(name) = name else {
                literal.push('{');
                rest = &after[1..];
                continue;
            };
            let index = NAMES.iter().position(|known| *known == name);
            let index = index.ok_or_else(|| {
                let known = NAMES.map(|name| format!("{{{name}}}")).join(", ");
                format!("expected the placeholders {known}, got {{{name}}}")
            })?;
            parts.push(Part::Text(std::mem::take(&mut literal)));
            parts.push(Part::Placeholder(index));
            rest = &after[name.len() + 2..];
        }
        literal.push_str(rest);
        parts.push(Part::Text(literal));
        let template = Template { syntax, parts };
        if syntax == Syntax::Json {
            for retry_after in [Some(1), None] {
                let sample = template.fill(&Facts {
                    limit: "name",
                    capacity: 1,
                    remaining: 0,
                    cost: 1,
                    retry_after,
                });
                serde_json::from_str::<serde::de::IgnoredAny>(&sample)
                    .map_err(|error| format!("expected JSON, got {error}"))?;
            }
        }
        Ok(template)
    }

    /// Fills in the placeholders.
    pub(crate) fn fill(&self, facts: &Facts<'_>) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Placeholder(index) => self.write(*index, facts, &mut text),
            }
        }
        text
    }

    fn write(&self, index: usize, facts: &Facts<'_>, text: &mut String) {
        // Writing to a String cannot fail.
        let _ = match (NAMES[index], facts.retry_after) {
            ("limit", _) => text.write_str(&self.quoted(facts.limit)),
            ("capacity", _) => write!(text, "{}", facts.capacity),
            ("remaining", _) => write!(text, "{}", facts.remaining),
            ("cost", _) => write!(text, "{}", facts.cost),
            (_, Some(seconds)) => write!(text, "{seconds}"),
            (_, None) if self.syntax == Syntax::Json => text.write_str("null"),
            (_, None) => text.write_str("-"),
        };
    }

    /// Returns a text as it may stand in a string of JSON, or in HTML.
    fn quoted(&self, text: &str) -> String {
        match self.syntax {
            Syntax::Plain => text.to_owned(),
            Syntax::Html => text
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
                .replace('"', "&quot;"),
            Syntax::Json => {
                let json = serde_json::Value::from(text).to_string();
                json.trim_matches('"').to_owned()
            }
        }
    }
}

/// Returns the name of the placeholder with which a text begins.
fn placeholder(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix('{')?.split_once('}')?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'_'));
    is_name.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: Facts<'_> = Facts {
        limit: "GET /a<\"b\">",
        capacity: 10,
        remaining: 2,
        cost: 3,
        retry_after: Some(7),
    };

    fn filled(text: &str, syntax: Syntax) -> String {
        Template::parse(text, syntax).unwrap().fill(&FACTS)
    }

    #[test]
    fn placeholders_are_filled_in() {
        assert_eq!(
            filled(
                "{remaining} of {capacity}, {cost} needed: wait {retry_after} s",
                Syntax::Plain
            ),
            "2 of 10, 3 needed: wait 7 s"
        );
        assert_eq!(filled("{limit}", Syntax::Plain), FACTS.limit);
        assert_eq!(
            filled("<b>{limit}</b>", Syntax::Html),
            "<b>GET /a&lt;&quot;b&quot;&gt;</b>"
        );
        let json = filled(
            r#"{"limit": "{limit}", "in": {retry_after}, "o": {}}"#,
            Syntax::Json,
        );
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["limit"], FACTS.limit);
        assert_eq!(json["in"], 7);
    }

    #[test]
    fn a_request_that_never_passes_has_no_time() {
        let never = Facts {
            retry_after: None,
            ..FACTS
        };
        let fill = |text, syntax| Template::parse(text, syntax).unwrap().fill(&never);
        assert_eq!(
            fill(r#"{"in": {retry_after}}"#, Syntax::Json),
            r#"{"in": null}"#
        );
        assert_eq!(fill("in {retry_after}", Syntax::Plain), "in -");
    }

    #[test]
    fn other_braces_stand_for_themselves() {
        for text in [
            "p { color: red }",
            "{",
            "{}",
            "{ limit }",
            "{{",
            "}",
            "{Limit}",
        ] {
            assert_eq!(filled(text, Syntax::Html), text);
        }
        assert_eq!(
            filled("{{limit}}", Syntax::Plain),
            format!("{{{}}}", FACTS.limit)
        );
    }

    #[test]
    fn invalid_templates_are_refused() {
        let error = |text, syntax| Template::parse(text, syntax).unwrap_err();
        assert_eq!(
            error("{retry}", Syntax::Plain),
            "expected the placeholders {limit}, {capacity}, {remaining}, {cost}, {retry_after}, got {retry}"
        );
        assert!(error(r#"{"in": "#, Syntax::Json).starts_with("expected JSON, got "));
        assert!(error(r#"{"limit": {limit}}"#, Syntax::Json).starts_with("expected JSON, got "));
    }
}
