//! The JSON Schema in the repository is the one that the code gives.

mod golden;

use serde_json::Value;

#[test]
fn the_schema_is_up_to_date() {
    let mut schema = serde_json::to_string_pretty(&tollgate_config::schema()).expect("JSON");
    schema.push('\n');
    golden::expect(&schema, &golden::examples().join("schema.json"));
}

/// Editors show descriptions; a key without one is a key that nobody can use.
#[test]
fn every_key_is_described() {
    fn walk(value: &Value, path: &str, found: &mut usize) {
        let Value::Object(object) = value else { return };
        if let Some(Value::Object(properties)) = object.get("properties") {
            for (key, property) in properties {
                // `all` stands in a choice that is described as a whole.
                let described = property["description"]
                    .as_str()
                    .is_some_and(|d| !d.is_empty());
                assert!(described || key == "all", "{path}.{key}");
                *found += 1;
            }
        }
        for (key, below) in object {
            walk(below, &format!("{path}.{key}"), found);
        }
    }
    let mut found = 0;
    walk(&tollgate_config::schema(), "", &mut found);
    assert!(found > 80, "{found} keys");
}
