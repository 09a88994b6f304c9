//! Vhosts, users, permissions, policies, parameters and limits. What is expected was compared with rabbitmqctl of RabbitMQ 3.10.

use serde_json::json;

use super::Administered;

#[test]
fn users_and_what_they_may_do() {
    let directory = tempfile::tempdir().unwrap();
    let node = Administered::start(directory.path());
    assert!(node.ask(&["add_user", "bob", "secret"]).contains("help set_permissions"));
    assert!(node.refuse(70, &["add_user", "bob", "secret"]).contains("User \"bob\" already exists"));
    assert_eq!(node.ask(&["set_user_tags", "bob", "monitoring", "policymaker"]), "");
    assert_eq!(node.ask(&["list_users"]), "user\ttags\nbob\t[monitoring, policymaker]\nguest\t[administrator]\n");
    assert_eq!(node.ask(&["authenticate_user", "bob", "secret"]), "Success\n");
    assert!(node.refuse(65, &["authenticate_user", "bob", "wrong"]).contains("failed to authenticate"));
    node.ask(&["change_password", "bob", "other"]);
    assert_eq!(node.ask(&["authenticate_user", "bob", "other"]), "Success\n");
    node.ask(&["clear_password", "bob"]);
    node.refuse(65, &["authenticate_user", "bob", ""]);
    node.refuse(67, &["change_password", "nobody", "p"]);

    node.ask(&["set_permissions", "bob", "^b", ".*", ""]);
    assert_eq!(node.ask(&["-s", "list_permissions"]), "bob\t^b\t.*\t\nguest\t.*\t.*\t.*\n");
    assert_eq!(node.ask(&["list_user_permissions", "bob"]), "vhost\tconfigure\twrite\tread\n/\t^b\t.*\t\n");
    assert!(node.refuse(69, &["set_permissions", "-p", "nope", "bob", "", "", ""]).contains("nope"));
    node.ask(&["clear_permissions", "bob"]);
    assert_eq!(node.ask(&["list_user_permissions", "bob"]), "");
    node.ask(&["set_topic_permissions", "bob", "amq.topic", "^a", ".*"]);
    assert_eq!(node.ask(&["-s", "list_topic_permissions"]), "bob\tamq.topic\t^a\t.*\n");
    assert_eq!(node.ask(&["-s", "list_user_topic_permissions", "bob"]), "/\tamq.topic\t^a\t.*\n");
    node.ask(&["clear_topic_permissions", "bob"]);
    assert_eq!(node.ask(&["-s", "list_topic_permissions"]), "");

    node.ask(&["set_user_limits", "bob", r#"{"max-connections": 5, "max-channels": 7}"#]);
    assert_eq!(node.ask(&["list_user_limits", "--user", "bob"]), "{\"max-channels\":7,\"max-connections\":5}\n");
    node.ask(&["clear_user_limits", "bob", "max-channels"]);
    assert_eq!(node.ask(&["-s", "list_user_limits", "--global"]), "bob\t{\"max-connections\":5}\n");
    node.ask(&["delete_user", "bob"]);
    assert!(node.refuse(67, &["delete_user", "bob"]).contains("User \"bob\" does not exist"));

    // A hash that was made by hand lets the user in that it is imported for.
    let hash = node.ask(&["hash_password", "by hand"]);
    let file = directory.path().join("user.json");
    let user = json!({ "users": [{ "name": "carol", "password_hash": hash.trim_end(), "tags": [] }] });
    std::fs::write(&file, user.to_string()).unwrap();
    node.ask(&["import_definitions", file.to_str().unwrap()]);
    assert_eq!(node.ask(&["authenticate_user", "carol", "by hand"]), "Success\n");
    // All of it outlives a crash.
    node.broker.kill();
    let node = Administered::start(directory.path());
    assert_eq!(node.ask(&["-s", "list_users"]), "carol\t[]\nguest\t[administrator]\n");
}

#[test]
fn vhosts_with_metadata_limits_and_protection() {
    let directory = tempfile::tempdir().unwrap();
    let node = Administered::start(directory.path());
    let add = ["add_vhost", "v", "--description", "a vhost", "--tags", "a,b", "--default-queue-type", "quorum"];
    node.ask(&add);
    // As RabbitMQ: it is there, so there is nothing to do.
    node.ask(&add);
    assert_eq!(
        node.rows(&["list_vhosts", "name", "description", "tags", "default_queue_type", "tracing"]),
        json!([
            { "name": "/", "description": "", "tags": [], "default_queue_type": "classic", "tracing": false },
            { "name": "v", "description": "a vhost", "tags": ["a", "b"], "default_queue_type": "quorum", "tracing": false },
        ])
    );
    assert!(node.refuse(65, &["add_vhost", "w", "--default-queue-type", "stack"]).contains("stack"));
    assert_eq!(node.ask(&["-p", "v", "trace_on"]), "Trace enabled for vhost v\n");
    node.ask(&["update_vhost_metadata", "v", "--description", "another"]);
    node.ask(&["set_vhost_tags", "v", "c"]);
    assert_eq!(
        node.ask(&["-s", "list_vhosts", "name", "description", "tags", "tracing"]),
        "/\t\t[]\tfalse\nv\tanother\t[c]\ttrue\n"
    );
    assert_eq!(node.ask(&["-p", "v", "trace_off"]), "Trace disabled for vhost v\n");
    node.ask(&["-p", "v", "set_vhost_limits", r#"{"max-queues": 5}"#]);
    assert_eq!(node.ask(&["-p", "v", "list_vhost_limits"]), "{\"max-queues\":5}\n");
    assert_eq!(node.ask(&["-s", "list_vhost_limits", "--global"]), "v\t{\"max-queues\":5}\n");
    node.ask(&["-p", "v", "clear_vhost_limits"]);
    assert_eq!(node.ask(&["-p", "v", "list_vhost_limits"]), "{}\n");
    node.ask(&["enable_vhost_deletion_protection", "v"]);
    let (code, _, error) = node.run(&["delete_vhost", "v"]);
    assert!(code != 0 && error.contains("protected"), "{code} {error}");
    node.ask(&["disable_vhost_deletion_protection", "v"]);
    node.ask(&["delete_vhost", "v"]);
    assert!(node.refuse(65, &["delete_vhost", "v"]).contains("Virtual host 'v' does not exist"));
}

#[test]
fn policies_apply_to_what_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let node = Administered::start(directory.path());
    node.with_messages(5);
    node.ask(&["set_policy", "p", "^q", r#"{"max-length": 4}"#, "--apply-to", "queues", "--priority", "3"]);
    assert_eq!(node.ask(&["-s", "list_policies"]), "/\tp\t^q\tqueues\t{\"max-length\":4}\t3\n");
    assert_eq!(node.ask(&["-s", "list_queues", "name", "policy", "messages"]), "q\tp\t4\n");
    node.ask(&["set_operator_policy", "op", "^q", r#"{"max-length": 2}"#, "--apply-to", "queues"]);
    assert_eq!(node.ask(&["-s", "list_operator_policies"]), "/\top\t^q\tqueues\t{\"max-length\":2}\t0\n");
    let columns = ["list_queues", "policy", "operator_policy", "effective_policy_definition", "messages"];
    let expected = json!([
        { "policy": "p", "operator_policy": "op", "effective_policy_definition": { "max-length": 2 }, "messages": 2 },
    ]);
    assert_eq!(node.rows(&columns), expected);
    node.ask(&["clear_policy", "p"]);
    node.ask(&["clear_operator_policy", "op"]);
    assert_eq!(node.ask(&["-s", "list_queues", "name", "policy", "operator_policy"]), "q\t\t\n");
    let why = node.rows(&["why", "q"]);
    assert_eq!(why["left"], json!({ "maxlen": 3 }), "{why}");

    node.refuse(69, &["clear_policy", "p"]);
    let wrong = |definition: &str| node.refuse(69, &["set_policy", "bad", "^q", definition]);
    assert!(wrong(r#"{"max-lenth": 5}"#).contains("Validation failed\n\n[{<<\"max-lenth\">>,5}] are not recognised"));
    assert!(wrong(r#"{"max-length": "a"}"#).contains("is not a valid maximum length"));
    assert!(wrong("nonsense").contains("JSON decoding error"));
    assert!(node.refuse(69, &["set_policy", "bad", "(", r#"{"max-length": 5}"#]).contains("regular expression"));
}

#[test]
fn parameters_are_kept_and_cleared() {
    let directory = tempfile::tempdir().unwrap();
    let node = Administered::start(directory.path());
    node.ask(&["set_global_parameter", "g", r#"{"a": 1}"#]);
    node.ask(&["set_cluster_name", "east"]);
    assert_eq!(node.ask(&["-s", "list_global_parameters"]), "cluster_name\t\"east\"\ng\t{\"a\":1}\n");
    node.ask(&["clear_global_parameter", "g"]);
    node.refuse(69, &["clear_global_parameter", "g"]);
    let error = node.refuse(69, &["set_parameter", "nonsense", "a", "1"]);
    assert!(error.contains("component nonsense not found"), "{error}");
    node.ask(&["set_parameter", "federation-upstream", "u", r#"{"uri": "amqp://"}"#]);
    assert_eq!(node.ask(&["-s", "list_parameters"]), "federation-upstream\tu\t{\"uri\":\"amqp://\"}\n");
    node.ask(&["clear_parameter", "federation-upstream", "u"]);
    assert_eq!(node.ask(&["list_parameters"]), "");
}
