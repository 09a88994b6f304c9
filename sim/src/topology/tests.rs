//! What the verb says of whole topologies: planted weaknesses are named, and sound ones meet silence.

use super::finding::Cause;
use super::*;

/// Exported from RabbitMQ 3.10.8 by `rabbitmqctl export_definitions`.
const WEB_SHOP: &str = include_str!("../../tests/topologies/rabbitmq-3.10-web-shop.json");
/// In the form of RabbitMQ 4.1, of a cluster with quorum queues by default.
const PAYMENTS: &str = include_str!("../../tests/topologies/rabbitmq-4.1-payments.json");
/// In the form of `/api/definitions/VHOST`, without names of vhosts.
const TELEMETRY: &str = include_str!("../../tests/topologies/one-vhost-telemetry.json");
const SOUND: &str = include_str!("../../tests/topologies/sound-orders.json");
const SOUND_CLASSIC: &str = include_str!("../../tests/topologies/sound-classic.json");

fn rules(publish: &[&str], consume: &[&str]) -> Rules {
    Rules {
        publish: publish.iter().map(|rule| PublishRule::parse(rule).unwrap()).collect(),
        consume: consume.iter().map(|rule| ConsumeRule::parse(rule).unwrap()).collect(),
        ..Rules::default()
    }
}

/// Each finding as "weakness place", sorted.
fn found(verdict: &Verdict) -> Vec<String> {
    let mut found: Vec<String> =
        verdict.findings.iter().map(|finding| format!("{} {}", finding.weakness.name, finding.place)).collect();
    found.sort();
    found
}

fn check(text: &str, rules: &Rules, expected: &[&str]) -> Verdict {
    let verdict = judge(text, rules).unwrap();
    assert_eq!(found(&verdict), expected, "{}", print::render(Path::new("test"), &verdict));
    assert!(verdict.tally.experiments > 0 && verdict.tally.published > 0);
    let Tally { published, acked, in_queues, returned, refused, lost, .. } = verdict.tally;
    assert_eq!(published, acked + in_queues + returned + refused + lost, "every message has one fate");
    for finding in &verdict.findings {
        let lines = &finding.story;
        assert!((2..=6).contains(&lines.len()), "{}: {lines:?}", finding.weakness.name);
        assert!(lines.is_sorted_by_key(|line| line.at_us), "{lines:?}");
        let is_named = ["m1", "m2", "m3", "m4"].iter().any(|message| lines.last().unwrap().text.contains(message));
        assert!(is_named, "the last line says which message is lost: {lines:?}");
    }
    verdict
}

fn is_by_fault(verdict: &Verdict, weakness: &str) -> bool {
    let finding = verdict.findings.iter().find(|finding| finding.weakness.name == weakness).unwrap();
    finding.cause != Cause::Design
}

#[test]
fn an_export_of_rabbitmq_3_10_has_the_weaknesses_that_were_planted() {
    let verdict = check(
        WEB_SHOP,
        &Rules::default(),
        &[
            // By an operator policy, which RabbitMQ 3.10 exports among the parameters; it also caps what an ordinary policy allows.
            "drop-head-without-dlx audit",
            "drop-head-without-dlx dead.billing",
            "drop-head-without-dlx dead.shipping",
            "transient-queue live.prices",
            "unroutable-without-alternate-exchange shop.mail",
        ],
    );
    assert!(verdict.findings.iter().all(|finding| finding.cause == Cause::Design));
    let audit = verdict.findings.iter().find(|finding| finding.place == "audit").unwrap();
    assert!(audit.story[0].text.contains("20000"), "the stricter of two policies holds: {:?}", audit.story);
}

#[test]
fn a_cluster_of_quorum_queues_has_the_weaknesses_that_were_planted() {
    let verdict = check(
        PAYMENTS,
        &Rules::default(),
        &[
            "alternate-exchange-missing payments",
            "delivery-limit-without-dlx payments.notify",
            "dlx-missing-exchange payments.settle",
            "dlx-without-binding payments.authorize",
            "queue-expires payments.sessions",
        ],
    );
    let unbound = verdict.findings.iter().find(|finding| finding.weakness.name == "dlx-without-binding").unwrap();
    let story: Vec<&str> = unbound.story.iter().map(|line| line.text.as_str()).collect();
    assert!(story[0].contains("exchange 'payments' with key 'authorize.any'"), "{story:?}");
    assert!(story[1].contains("rejects m1"), "{story:?}");
    assert!(story[2].contains("dead-letters m1 (rejected) to exchange 'payments.dlx' with its own key"), "{story:?}");
    assert_eq!(verdict.notes.len(), 2, "the stream and the shovel are noted: {:?}", verdict.notes);
}

#[test]
fn the_export_of_one_vhost_has_the_weaknesses_that_were_planted() {
    let verdict = check(
        TELEMETRY,
        &Rules::default(),
        &[
            "at-most-once-dead-lettering telemetry.archive",
            "at-most-once-dead-lettering telemetry.in",
            "at-most-once-dead-lettering telemetry.retry",
            "auto-delete-queue telemetry.dashboard",
            "dlx-cycle-drops telemetry.in",
            "dlx-cycle-drops telemetry.retry",
            "drop-head-before-dlx telemetry.archive",
            "transient-exchange telemetry.in",
            "ttl-without-dlx telemetry.latest",
        ],
    );
    assert!(is_by_fault(&verdict, "drop-head-before-dlx"));
    assert!(!is_by_fault(&verdict, "dlx-cycle-drops"));
}

#[test]
fn a_sound_topology_meets_silence() {
    for text in [SOUND, SOUND_CLASSIC] {
        let verdict = check(text, &Rules::default(), &[]);
        assert_eq!(verdict.tally.lost, 0);
        assert!(verdict.tally.experiments > 3, "{:?}", verdict.tally);
    }
}

#[test]
fn what_publishers_and_consumers_do_decides_too() {
    for (text, publish, consume, expected) in [
        (SOUND, &["orders order.created confirm"][..], &["orders.process ack"][..], &[][..]),
        (SOUND, &[], &["orders.process auto-ack"], &["auto-ack-consumer orders.process"]),
        (SOUND, &["orders order.created"], &[], &["unconfirmed-publisher orders.process"]),
        (SOUND, &["orders order.created confirm transient"], &[], &[]),
        (SOUND_CLASSIC, &["jobs resize transient confirm"], &[], &["transient-messages jobs.resize"]),
        (SOUND_CLASSIC, &["jobs resize confirm"], &["jobs.resize reject"], &["reject-without-dlx jobs.resize"]),
        (SOUND_CLASSIC, &["jobs resize confirm"], &["jobs.resize never prefetch=1"], &[]),
        (WEB_SHOP, &["shop.mail sned confirm mandatory"], &[], &[]),
    ] {
        check(text, &rules(publish, consume), expected);
    }
    let verdict = judge(WEB_SHOP, &rules(&["shop.mail sned confirm mandatory"], &[])).unwrap();
    assert_eq!((verdict.tally.returned, verdict.tally.lost), (1, 0));
    let verdict = judge(SOUND_CLASSIC, &rules(&["jobs resize confirm"], &["jobs.resize ack"])).unwrap();
    assert_eq!(verdict.tally.acked, 4, "three in their experiment, one while routes were looked for");
}

#[test]
fn a_publisher_without_confirms_is_not_told_of_a_full_queue() {
    let full = SOUND.replace("\"x-delivery-limit\": 5", "\"x-delivery-limit\": 5, \"x-max-length\": 1000");
    assert_ne!(full, SOUND);
    check(&full, &Rules::default(), &[]);
    check(
        &full,
        &rules(&["orders order.created"], &[]),
        &["reject-publish-unconfirmed orders.process", "unconfirmed-publisher orders.process"],
    );
}

#[test]
fn what_is_ignored_is_not_reported() {
    let ignore = ["drop-head-without-dlx:audit", "transient-queue", "unroutable-without-alternate-exchange"];
    let ignore = ignore.iter().map(|rule| IgnoreRule::parse(rule).unwrap()).collect();
    let verdict = judge(WEB_SHOP, &Rules { ignore, ..Rules::default() }).unwrap();
    assert_eq!(found(&verdict), ["drop-head-without-dlx dead.billing", "drop-head-without-dlx dead.shipping"]);
    assert_eq!(verdict.ignored, 3);
}

#[test]
fn names_that_are_not_there_are_told_with_those_that_are() {
    let error = |text, publish: &[&str], consume: &[&str]| judge(text, &rules(publish, consume)).unwrap_err();
    let text = error(WEB_SHOP, &["shop.event order.1.paid"], &[]);
    assert!(text.contains("no exchange 'shop.event'") && text.contains("shop.events"), "{text}");
    let text = error(WEB_SHOP, &[r#""" biling"#], &[]);
    assert!(text.contains("no queue 'biling'") && text.contains("billing"), "{text}");
    let text = error(WEB_SHOP, &[], &["biling auto-ack"]);
    assert!(text.contains("--consume: there is no queue 'biling'"), "{text}");
    let vhost = Rules { vhost: Some("shopp".to_owned()), ..Rules::default() };
    let text = judge(WEB_SHOP, &vhost).unwrap_err();
    assert!(text.contains("'shopp'; there are: shop"), "{text}");
}

#[test]
fn what_the_engine_refuses_is_told_with_its_place() {
    let wrong = WEB_SHOP.replace("\"x-delivery-limit\": 5", "\"x-delivery-limit\": \"five\"");
    assert_ne!(wrong, WEB_SHOP);
    let text = judge(&wrong, &Rules::default()).unwrap_err();
    assert!(text.contains("queues[") && text.contains("(billing)") && text.contains("x-delivery-limit"), "{text}");
}

#[test]
fn the_same_definitions_get_the_same_verdict() {
    let render = || print::render(Path::new("test"), &judge(TELEMETRY, &Rules::default()).unwrap());
    let text = render();
    assert_eq!(text, render());
    assert!(text.contains("9 weaknesses: 5 by design of the topology, 4 by a fault."), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
}

#[test]
fn the_page_shows_what_loses_messages_and_needs_nothing_else() {
    let verdict = judge(PAYMENTS, &Rules::default()).unwrap();
    let page = picture::page(Path::new("payments.json"), &verdict);
    assert_eq!(page.matches("class=\"node queue weak\"").count(), 4, "four queues lose messages");
    assert_eq!(page.matches("class=\"node exchange weak\"").count(), 1);
    assert_eq!(page.matches("<section").count(), verdict.findings.len());
    assert_eq!(page.matches("class=\"node exchange missing\"").count(), 2, "two exchanges are named and not there");
    assert!(page.contains("href=\"#f5\"") && page.contains("id=\"f5\""));
    assert!(!page.contains("http") && !page.contains("<script") && page.len() < 100_000);
    let sound = picture::page(Path::new("sound.json"), &judge(SOUND, &Rules::default()).unwrap());
    assert!(!sound.contains(" weak\"><title>") && sound.contains("Sound:"));
}

#[test]
fn of_many_findings_of_one_kind_one_story_is_told() {
    let queue = |name: &str| format!(r#"{{"name":"{name}","durable":true,"arguments":{{"x-message-ttl":1000}}}}"#);
    let queues: Vec<String> = ["a", "b", "c", "d"].into_iter().map(queue).collect();
    let verdict = check(
        &format!(r#"{{"queues":[{}]}}"#, queues.join(",")),
        &Rules::default(),
        &["ttl-without-dlx a", "ttl-without-dlx b", "ttl-without-dlx c", "ttl-without-dlx d"],
    );
    let text = print::render(Path::new("test"), &verdict);
    assert_eq!(text.matches("Mend it").count(), 1, "{text}");
    assert!(text.contains("The same in 3 other places: queue 'b', queue 'c', queue 'd'."), "{text}");
    assert!(text.contains("4 weaknesses"), "{text}");
}

/// The queue is gone before its messages expire; which of the two is first must not leave a loss without a reason.
#[test]
fn a_queue_that_expires_before_its_messages_do_is_named() {
    let text = r#"{"queues":[{"name":"q","durable":true,"arguments":{"x-message-ttl":3600000,"x-expires":60000}}]}"#;
    check(text, &Rules::default(), &["queue-expires q"]);
}
