//! JSON values in the format of Python's `repr`. The stress tool that this one replaces was written
//! in Python, and the outputs are compared.

use std::fmt::{self, Write};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};

/// Formatted value. The fields of an object keep their order.
#[derive(Debug)]
pub(super) enum PythonRepr {
    /// Formatted number, string, boolean or null.
    Scalar(String),
    List(Vec<PythonRepr>),
    Dict(Vec<(String, PythonRepr)>),
}

impl PythonRepr {
    /// Formats a string with its quotes: single ones, unless it contains single but no double
    /// quotes.
    pub(super) fn quoted(text: &str) -> String {
        let quote = if text.contains('\'') && !text.contains('"') {
            '"'
        } else {
            '\''
        };
        let mut quoted = String::from(quote);
        for character in text.chars() {
            // Writing to a String cannot fail.
            let _ = match character {
                '\n' => quoted.write_str("\\n"),
                '\r' => quoted.write_str("\\r"),
                '\t' => quoted.write_str("\\t"),
                '\\' => quoted.write_str("\\\\"),
                _ if character == quote => write!(quoted, "\\{quote}"),
                _ if character.is_control() => write!(quoted, "\\x{:02x}", u32::from(character)),
                _ => quoted.write_char(character),
            };
        }
        quoted.push(quote);
        quoted
    }

    /// Returns the field of an object.
    pub(super) fn field(&self, name: &str) -> Option<&PythonRepr> {
        match self {
            PythonRepr::Dict(fields) => fields
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value),
            PythonRepr::Scalar(_) | PythonRepr::List(_) => None,
        }
    }
}

impl fmt::Display for PythonRepr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = |number| if number == 0 { "" } else { ", " };
        match self {
            PythonRepr::Scalar(text) => f.write_str(text),
            PythonRepr::List(values) => {
                f.write_str("[")?;
                values
                    .iter()
                    .enumerate()
                    .try_for_each(|(number, value)| write!(f, "{}{value}", separator(number)))?;
                f.write_str("]")
            }
            PythonRepr::Dict(fields) => {
                f.write_str("{")?;
                for (number, (key, value)) in fields.iter().enumerate() {
                    write!(
                        f,
                        "{}{}: {value}",
                        separator(number),
                        PythonRepr::quoted(key)
                    )?;
                }
                f.write_str("}")
            }
        }
    }
}

impl<'de> Deserialize<'de> for PythonRepr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PythonRepr, D::Error> {
        deserializer.deserialize_any(ReprVisitor)
    }
}

struct ReprVisitor;

impl<'de> Visitor<'de> for ReprVisitor {
    type Value = PythonRepr;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<PythonRepr, E> {
        Ok(PythonRepr::Scalar("None".to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<PythonRepr, E> {
        Ok(PythonRepr::Scalar(
            if value { "True" } else { "False" }.to_owned(),
        ))
    }

    fn visit_u64<E>(self, number: u64) -> Result<PythonRepr, E> {
        Ok(PythonRepr::Scalar(number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<PythonRepr, E> {
        Ok(PythonRepr::Scalar(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<PythonRepr, E> {
        // Debug keeps the decimal of whole numbers, as Python does.
        Ok(PythonRepr::Scalar(format!("{number:?}")))
    }

    fn visit_str<E>(self, text: &str) -> Result<PythonRepr, E> {
        Ok(PythonRepr::Scalar(PythonRepr::quoted(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<PythonRepr, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = values.next_element()? {
            list.push(value);
        }
        Ok(PythonRepr::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<PythonRepr, A::Error> {
        let mut dict = Vec::new();
        while let Some(field) = fields.next_entry()? {
            dict.push(field);
        }
        Ok(PythonRepr::Dict(dict))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_formatted_as_by_python() {
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
                serde_json::from_str::<PythonRepr>(json)
                    .unwrap()
                    .to_string(),
                python
            );
        }
    }
}
