//! The key `client`: how clients are identified.

use std::fmt;

use hyper::header::HeaderName;
use serde::{
    Deserialize, Deserializer,
    de::{self, value::MapAccessDeserializer},
};

use crate::values::required;

/// Source of a client's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    Ip,
    Header(HeaderName),
}

impl<'de> Deserialize<'de> for Client {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Client, D::Error> {
        deserializer.deserialize_any(ClientVisitor)
    }
}

struct ClientVisitor;

impl<'de> de::Visitor<'de> for ClientVisitor {
    type Value = Client;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"ip\" or { header = \"X-API-Key\" }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Client, E> {
        match text {
            "ip" => Ok(Client::Ip),
            _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Client, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct ByHeader {
            #[serde(deserialize_with = "required")]
            header: HeaderName,
        }
        ByHeader::deserialize(MapAccessDeserializer::new(map)).map(|by| Client::Header(by.header))
    }
}
