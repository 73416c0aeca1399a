//! Kubernetes resources of Traefik as tables of a dynamic configuration.

use serde_json::{Map, Value, json};

/// Returns one configuration of all documents. `Middleware` and `IngressRoute` are Kubernetes
/// resources; other documents are configurations.
pub(crate) fn merged(documents: Vec<Value>) -> Value {
    let mut all = Map::new();
    for document in documents {
        let name = |document: &Value| {
            let name = document.pointer("/metadata/name").and_then(Value::as_str);
            name.unwrap_or("unnamed").to_owned()
        };
        match document.get("kind").and_then(Value::as_str) {
            Some("Middleware") => {
                let spec = document.get("spec").cloned().unwrap_or_default();
                merge(
                    &mut all,
                    json!({"http": {"middlewares": {name(&document): spec}}}),
                );
            }
            Some("IngressRoute") => {
                let routes = document.pointer("/spec/routes").and_then(Value::as_array);
                for (index, route) in routes.into_iter().flatten().enumerate() {
                    let name = match index {
                        0 => name(&document),
                        index => format!("{}-{}", name(&document), index + 1),
                    };
                    merge(
                        &mut all,
                        json!({"http": {"routers": {name: router(&document, route)}}}),
                    );
                }
            }
            _ => merge(&mut all, document),
        }
    }
    Value::Object(all)
}

fn router(document: &Value, route: &Value) -> Value {
    let middlewares = route.get("middlewares").and_then(Value::as_array);
    let names = middlewares
        .into_iter()
        .flatten()
        .filter_map(|item| item.get("name"));
    let mut router = json!({"middlewares": names.collect::<Vec<_>>()});
    let fields = [
        ("rule", route.get("match")),
        ("priority", route.get("priority")),
        ("entryPoints", document.pointer("/spec/entryPoints")),
    ];
    for (name, value) in fields {
        if let (Some(value), Value::Object(router)) = (value, &mut router) {
            router.insert(name.to_owned(), value.clone());
        }
    }
    router
}

/// Adds fields of a document. Of fields with the same name, tables are merged.
fn merge(all: &mut Map<String, Value>, document: Value) {
    let Value::Object(fields) = document else {
        return;
    };
    for (name, value) in fields {
        match (all.get_mut(&name), value) {
            (Some(Value::Object(known)), value @ Value::Object(_)) => merge(known, value),
            (_, value) => {
                all.insert(name, value);
            }
        }
    }
}
