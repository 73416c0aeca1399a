//! The table `refusal`: the response to requests that a limit refuses.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, value::MapAccessDeserializer},
};

use crate::values::{Whole, optional};

/// Response to requests that a limit refuses.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refusal {
    #[serde(default, deserialize_with = "optional")]
    pub(crate) status: Option<Whole<400, 599>>,
    #[serde(default)]
    pub(crate) json: Option<Text>,
    #[serde(default)]
    pub(crate) problem: Option<Text>,
    #[serde(default)]
    pub(crate) html: Option<Text>,
    #[serde(default)]
    pub(crate) text: Option<Text>,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
}

/// A text, or the file that contains it: `{ file = "refused.html" }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    Inline(String),
    File(String),
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> de::Visitor<'de> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, or { file = \"refused.html\" }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text::Inline(text.to_owned()))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Text, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            file: String,
        }
        File::deserialize(MapAccessDeserializer::new(map)).map(|File { file }| Text::File(file))
    }
}
