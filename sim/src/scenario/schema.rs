//! The JSON schema of scenario files, for editors: made from the types, and kept in `scenarios/schema.json`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Scenario;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios")
}

fn schema() -> Value {
    let mut schema = schemars::schema_for!(Scenario).to_value();
    schema["title"] = "A scenario of leveret-sim".into();
    schema
}

/// To renew the file, delete it and run this test twice.
#[test]
fn the_schema_in_the_tree_is_that_of_the_types() {
    let path = root().join("schema.json");
    let fresh = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    if !path.exists() {
        std::fs::write(&path, &fresh).unwrap();
        panic!("{} was not there; it is now: look at it and commit it", path.display());
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(kept == fresh, "the types have changed: delete {}, run this test and commit the new one", path.display());
}

#[test]
fn every_scenario_in_the_tree_is_valid_by_the_schema() {
    let schema = schema();
    let mut count = 0;
    for folder in std::fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for file in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let text = std::fs::read_to_string(&file).unwrap();
            let value: Value = toml::from_str(&text).unwrap();
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            validate(&schema, &schema, &value, &name).unwrap();
            count += 1;
        }
    }
    assert!(count >= 60, "{count}");
    for (text, reason) in [
        ("name = \"x\"\nabout = \"X.\"\nkidn = 1", "kidn"),
        ("name = \"x\"", "about"),
        ("name = \"x\"\nabout = \"X.\"\n[phases]\nchaos = 5", "chaos"),
        ("name = \"x\"\nabout = \"X.\"\n[clients]\nconfirming = [1, 2, 3]", "confirming"),
        ("name = \"x\"\nabout = \"X.\"\n[[client]]\nkind = \"writer\"", "kind"),
    ] {
        let value: Value = toml::from_str(text).unwrap();
        let error = validate(&schema, &schema, &value, "").expect_err(text);
        assert!(error.contains(reason), "{text}: {error}");
    }
}

/// As much of JSON Schema as the types make use of; a word that is not known here fails.
fn validate(schema: &Value, root: &Value, value: &Value, place: &str) -> Result<(), String> {
    let refuse = |why: &str| Err(format!("{place} {why}: {value}"));
    let Some(rules) = schema.as_object() else { return Ok(()) };
    for (word, rule) in rules {
        match &**word {
            "$ref" => {
                let pointer = rule.as_str().unwrap().trim_start_matches('#');
                validate(root.pointer(pointer).unwrap(), root, value, place)?;
            }
            "type" => {
                let types: Vec<&str> = rule.as_array().map_or_else(
                    || vec![rule.as_str().unwrap()],
                    |types| types.iter().map(|it| it.as_str().unwrap()).collect(),
                );
                let is = |name: &str| match name {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "null" => value.is_null(),
                    other => panic!("type {other}"),
                };
                if !types.into_iter().any(is) {
                    return refuse(&format!("is not {rule}"));
                }
            }
            "enum" if !rule.as_array().unwrap().contains(value) => return refuse("is none of those"),
            "const" if rule != value => return refuse("is something else"),
            "anyOf" | "oneOf" => {
                let ways = rule.as_array().unwrap();
                if !ways.iter().any(|way| validate(way, root, value, place).is_ok()) {
                    return refuse("fits none of the ways");
                }
            }
            "allOf" => {
                for way in rule.as_array().unwrap() {
                    validate(way, root, value, place)?;
                }
            }
            "required" => {
                for name in rule.as_array().unwrap() {
                    if value.get(name.as_str().unwrap()).is_none() {
                        return refuse(&format!("lacks {name}"));
                    }
                }
            }
            "properties" => {
                for (name, schema) in rule.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        validate(schema, root, value, &format!("{place}.{name}"))?;
                    }
                }
            }
            "additionalProperties" => {
                assert_eq!(rule, false);
                let known = rules["properties"].as_object().unwrap();
                if let Some((name, _)) = value.as_object().unwrap().iter().find(|(name, _)| !known.contains_key(*name))
                {
                    return refuse(&format!("has an unknown {name}"));
                }
            }
            "items" => {
                for (at, item) in value.as_array().into_iter().flatten().enumerate() {
                    validate(rule, root, item, &format!("{place}[{at}]"))?;
                }
            }
            "prefixItems" => {
                for (schema, item) in rule.as_array().unwrap().iter().zip(value.as_array().into_iter().flatten()) {
                    validate(schema, root, item, place)?;
                }
            }
            "minItems" if (value.as_array().map_or(0, Vec::len) as u64) < rule.as_u64().unwrap() => {
                return refuse("has too few items");
            }
            "maxItems" if (value.as_array().map_or(0, Vec::len) as u64) > rule.as_u64().unwrap() => {
                return refuse("has too many items");
            }
            "minimum" if value.as_i64().is_some_and(|it| it < rule.as_i64().unwrap()) => return refuse("is too small"),
            "maximum" if value.as_i64().is_some_and(|it| it > rule.as_i64().unwrap()) => return refuse("is too large"),
            "enum" | "const" | "minItems" | "maxItems" | "minimum" | "maximum" => {}
            "$schema" | "$defs" | "title" | "description" | "default" | "format" => {}
            other => panic!("nobody validates {other}"),
        }
    }
    Ok(())
}
