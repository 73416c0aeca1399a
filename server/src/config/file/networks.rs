//! A list of networks in the configuration file, or in files of its own.

use std::fmt;

use ipnet::IpNet;
use serde::{
    Deserialize, Deserializer,
    de::{self, value::MapAccessDeserializer},
};

use crate::values::Value;

/// Networks of a list, and the files that contain more of them: `["10.0.0.0/8"]`,
/// `{ file = "deny.txt" }`, or both in one list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Networks {
    pub(crate) networks: Vec<IpNet>,
    pub(crate) files: Vec<String>,
}

/// A network, or a file with networks.
enum Item {
    Network(IpNet),
    File(String),
}

impl Networks {
    fn add(&mut self, item: Item) {
        match item {
            Item::Network(network) => self.networks.push(network),
            Item::File(file) => self.files.push(file),
        }
    }
}

impl<'de> Deserialize<'de> for Networks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Networks, D::Error> {
        deserializer.deserialize_any(NetworksVisitor)
    }
}

struct NetworksVisitor;

impl<'de> de::Visitor<'de> for NetworksVisitor {
    type Value = Networks;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of networks such as [\"10.0.0.0/8\"], or { file = \"networks.txt\" }")
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Networks, A::Error> {
        let mut networks = Networks::default();
        while let Some(item) = list.next_element()? {
            networks.add(item);
        }
        Ok(networks)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Networks, A::Error> {
        let mut networks = Networks::default();
        networks.add(ItemVisitor.visit_map(map)?);
        Ok(networks)
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Item, D::Error> {
        deserializer.deserialize_any(ItemVisitor)
    }
}

struct ItemVisitor;

impl<'de> de::Visitor<'de> for ItemVisitor {
    type Value = Item;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpNet::expected(f)?;
        f.write_str(", or { file = \"networks.txt\" }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Item, E> {
        let rejected = || E::invalid_value(de::Unexpected::Str(text), &self);
        IpNet::from_text(text)
            .map(Item::Network)
            .ok_or_else(rejected)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Item, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            file: String,
        }
        File::deserialize(MapAccessDeserializer::new(map)).map(|given| Item::File(given.file))
    }
}
