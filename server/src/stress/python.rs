//! JSON as Python prints it: the stress tool of the systems before was written in Python, and its
//! output is compared.

use std::fmt::{self, Write};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};

/// A value, in Python's words. The fields of an object keep their order.
#[derive(Debug)]
pub(super) enum Python {
    /// Printed already.
    Plain(String),
    List(Vec<Python>),
    Dict(Vec<(String, Python)>),
}

impl Python {
    /// A text with its quotes: single ones, unless it has some and no double ones.
    pub(super) fn text(text: &str) -> String {
        let quote = if text.contains('\'') && !text.contains('"') {
            '"'
        } else {
            '\''
        };
        let mut shown = String::from(quote);
        for character in text.chars() {
            // Writing to a String cannot fail.
            let _ = match character {
                '\n' => shown.write_str("\\n"),
                '\r' => shown.write_str("\\r"),
                '\t' => shown.write_str("\\t"),
                '\\' => shown.write_str("\\\\"),
                _ if character == quote => write!(shown, "\\{quote}"),
                _ if character.is_control() => write!(shown, "\\x{:02x}", u32::from(character)),
                _ => shown.write_char(character),
            };
        }
        shown.push(quote);
        shown
    }

    pub(super) fn field(&self, name: &str) -> Option<&Python> {
        match self {
            Python::Dict(fields) => fields
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value),
            Python::Plain(_) | Python::List(_) => None,
        }
    }
}

impl fmt::Display for Python {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = |number| if number == 0 { "" } else { ", " };
        match self {
            Python::Plain(text) => f.write_str(text),
            Python::List(values) => {
                f.write_str("[")?;
                values
                    .iter()
                    .enumerate()
                    .try_for_each(|(number, value)| write!(f, "{}{value}", separator(number)))?;
                f.write_str("]")
            }
            Python::Dict(fields) => {
                f.write_str("{")?;
                for (number, (key, value)) in fields.iter().enumerate() {
                    write!(f, "{}{}: {value}", separator(number), Python::text(key))?;
                }
                f.write_str("}")
            }
        }
    }
}

impl<'de> Deserialize<'de> for Python {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Python, D::Error> {
        deserializer.deserialize_any(PythonVisitor)
    }
}

struct PythonVisitor;

impl<'de> Visitor<'de> for PythonVisitor {
    type Value = Python;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Python, E> {
        Ok(Python::Plain("None".to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Python, E> {
        Ok(Python::Plain(
            if value { "True" } else { "False" }.to_owned(),
        ))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Python, E> {
        Ok(Python::Plain(number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Python, E> {
        Ok(Python::Plain(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Python, E> {
        // With a decimal even when it is whole.
        Ok(Python::Plain(format!("{number:?}")))
    }

    fn visit_str<E>(self, text: &str) -> Result<Python, E> {
        Ok(Python::Plain(Python::text(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Python, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = values.next_element()? {
            list.push(value);
        }
        Ok(Python::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Python, A::Error> {
        let mut dict = Vec::new();
        while let Some(field) = fields.next_entry()? {
            dict.push(field);
        }
        Ok(Python::Dict(dict))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_printed_as_python_prints_it() {
        for (json, python) in [
            (
                r#"{"z": 1, "a": -2.50, "t": true, "f": false, "n": null}"#,
                "{'z': 1, 'a': -2.5, 't': True, 'f': False, 'n': None}",
            ),
            (
                r#"["it's", "\"it's\"", "a\nb\\", "\u0001é"]"#,
                r#"["it's", '"it\'s"', 'a\nb\\', '\x01é']"#,
            ),
            (
                "[1.0, 18446744073709551615, []]",
                "[1.0, 18446744073709551615, []]",
            ),
        ] {
            assert_eq!(
                serde_json::from_str::<Python>(json).unwrap().to_string(),
                python
            );
        }
    }
}
