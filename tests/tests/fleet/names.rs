//! The DNS.

use super::*;
use dns::{Record, Says, Server};

/// A section by DNS: `of` is a name as an address, `more` further keys.
fn found(server: &Server, kind: &str, of: &str, more: &str) -> String {
    let address = format!(
        "{{ dns: {kind}, of: \"http://{of}\", server: \"{}\", refresh: 100ms, \
         refresh-least: 100ms, timeout: 300ms{more} }}",
        server.address
    );
    section(&address, "", "")
}

/// A worker at another address of this machine, with the port of the first.
async fn beside(first: &h::Worker, last: u8, name: &'static str) -> h::Worker {
    let address = SocketAddr::from(([127, 0, 0, last], first.address.port()));
    h::Worker::start_at(address, move |_| {
        vec![h::json(200, &scene::completed(name))]
    })
    .await
}

#[tokio::test]
async fn each_address_of_a_name_is_a_worker() {
    let one = slow("one").await;
    let two = beside(&one, 2, "two").await;
    let port = one.address.port();
    let server = Server::start().await;
    let both = vec![Record::local(1), Record::local(2)];
    server.say("pods.test", Says::Records(0, both.clone()));
    let of = format!("pods.test:{port}");
    let proxy = Proxy::start(&found(&server, "a", &of, "")).await;
    // The first has something to do, so that others go to the second.
    let first = asking(&proxy, false);
    one.journal.holding(0).await;
    assert_eq!(ask(&proxy).await, "two");
    let head = one.journal.head(0).await;
    let host = head.headers.iter().find(|(name, _)| name == "host");
    assert_eq!(host.map(|(_, value)| value.as_str()), Some(of.as_str()));

    server.say("pods.test", Says::Records(0, vec![Record::local(1)]));
    forgotten(&proxy, &format!("w0@127.0.0.2:{port}")).await;
    let asked = two.journal.requests();
    one.release();
    assert_eq!(who(first.await.unwrap()), "one");
    for number in 1..5 {
        let again = asking(&proxy, false);
        one.journal.holding(number).await;
        one.release();
        assert_eq!(who(again.await.unwrap()), "one");
    }
    assert_eq!(two.journal.requests(), asked);
    server.say("pods.test", Says::Records(0, vec![Record::local(2)]));
    forgotten(&proxy, &format!("w0@127.0.0.1:{port}")).await;
    assert_eq!(ask(&proxy).await, "two");
}

#[tokio::test]
async fn what_is_known_stays_while_the_dns_is_away() {
    let one = named("one").await;
    let server = Server::start().await;
    let known = Says::Records(0, vec![Record::local(1)]);
    server.say("pods.test", known.clone());
    let of = format!("pods.test:{}", one.address.port());
    let proxy = Proxy::start(&found(&server, "a", &of, "")).await;
    let stale = "discovery_stale{section=\"w0\"}";
    for away in [Says::Failed, Says::Silence, Says::Garbage] {
        server.say("pods.test", away.clone());
        proxy.becomes(stale, 1.0).await;
        assert_eq!(ask(&proxy).await, "one", "{away:?}");
        server.say("pods.test", known.clone());
        proxy.becomes(stale, 0.0).await;
    }
    drop(server);
    proxy.becomes(stale, 1.0).await;
    assert_eq!(ask(&proxy).await, "one");
    let failures = proxy.figure("discovery_failures_total{section=\"w0\"}");
    assert!(failures.await.unwrap() >= 4.0);
}

#[tokio::test]
async fn that_nobody_is_there_is_believed_when_it_was_said_often_enough() {
    let one = named("one").await;
    let server = Server::start().await;
    let known = Says::Records(0, vec![Record::local(1)]);
    server.say("pods.test", known.clone());
    let of = format!("pods.test:{}", one.address.port());
    let mut yaml = found(&server, "a", &of, ", gone-after: 2");
    yaml = yaml.replace(
        "    auth: open\n",
        "    auth: open\n    queue: { workerless-timeout: 50ms }\n",
    );
    let proxy = Proxy::start(&yaml).await;
    let workers = "discovery_workers{section=\"w0\"}";
    for gone in [Says::NoSuchName, Says::Records(0, Vec::new())] {
        assert_eq!(ask(&proxy).await, "one");
        server.say("pods.test", gone);
        proxy.becomes(workers, 0.0).await;
        let refused = http1::ask(proxy.http(), &scene::completion(false)).await;
        let refused = refused.with_status(503);
        assert!(refused.header("retry-after").is_some(), "{refused:?}");
        server.say("pods.test", known.clone());
        proxy.becomes(workers, 1.0).await;
    }
    // Once is not enough, and an error in between changes nothing of that.
    server.say("pods.test", Says::Failed);
    proxy.becomes("discovery_stale{section=\"w0\"}", 1.0).await;
    assert_eq!(proxy.figure(workers).await, Some(1.0));
}

#[tokio::test]
async fn many_records_come_over_tcp_and_are_bounded() {
    let one = named("one").await;
    let server = Server::start().await;
    let many: Vec<Record> = (1..=200).map(Record::local).collect();
    server.say("pods.test", Says::Records(60, many));
    let of = format!("pods.test:{}", one.address.port());
    let proxy = Proxy::start(&found(&server, "a", &of, ", most: 8")).await;
    let figure = async |name: &str| {
        let series = format!("{name}{{section=\"w0\"}}");
        proxy.figure(&series).await.expect("it is there")
    };
    assert_eq!(figure("discovery_workers").await, 200.0);
    assert_eq!(figure("discovery_left_out").await, 192.0);
    let page = proxy.metrics().await;
    let workers = page.matches("tollgate_worker_accepting{").count();
    assert_eq!(workers, 8, "{page}");
    assert!(server.asked().iter().any(|asked| asked.by_tcp));
    // Among them is the one that is there: the others are not reached, and another is asked.
    eventually("it is asked", async || {
        let answer = http1::ask(proxy.http(), &scene::completion(false)).await;
        (answer.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_service_has_hosts_with_ports_and_the_lowest_priority_counts() {
    let (one, two) = (slow("one").await, named("two").await);
    let spare = named("spare").await;
    let server = Server::start().await;
    let service = |priority, worker: &h::Worker, target: &str| Record::Service {
        priority,
        weight: 0,
        port: worker.address.port(),
        target: target.into(),
    };
    let local = Says::Records(0, vec![Record::local(1)]);
    for host in ["a.test", "b.test", "c.test"] {
        server.say(host, local.clone());
    }
    let all = vec![
        service(1, &one, "a.test"),
        service(1, &two, "b.test"),
        service(2, &spare, "c.test"),
    ];
    server.say("_http._tcp.models.test", Says::Records(0, all));
    let proxy = Proxy::start(&found(&server, "srv", "_http._tcp.models.test", "")).await;
    let first = asking(&proxy, false);
    one.journal.holding(0).await;
    assert_eq!(ask(&proxy).await, "two");
    assert_eq!(spare.journal.requests(), 0);
    let head = two.journal.head(0).await;
    let host = format!("b.test:{}", two.address.port());
    assert!(head.headers.contains(&("host".into(), host)), "{head:?}");
    // One of its hosts is not known: half of an answer takes nobody away.
    server.say("b.test", Says::Failed);
    proxy.becomes("discovery_stale{section=\"w0\"}", 1.0).await;
    assert_eq!(ask(&proxy).await, "two");
    server.say(
        "_http._tcp.models.test",
        Says::Records(0, vec![service(2, &spare, "c.test")]),
    );
    proxy
        .becomes(
            &format!("worker_draining{{worker=\"w0@{}\"}}", one.address),
            1.0,
        )
        .await;
    assert_eq!(ask(&proxy).await, "spare");
    one.release();
    assert_eq!(who(first.await.unwrap()), "one");
    forgotten(&proxy, &format!("w0@{}", one.address)).await;
}

#[tokio::test]
async fn weights_of_a_service_are_shares_of_the_slots_and_change_with_the_worker_in_place() {
    let (one, two) = (slow("one").await, named("two").await);
    let spare = named("spare").await;
    let server = Server::start().await;
    let service = |priority, weight, worker: &h::Worker, target: &str| Record::Service {
        priority,
        weight,
        port: worker.address.port(),
        target: target.into(),
    };
    let said = |records| server.say("_http._tcp.models.test", Says::Records(0, records));
    for host in ["a.test", "b.test", "c.test"] {
        server.say(host, Says::Records(0, vec![Record::local(1)]));
    }
    // Of the lowest priority nobody has an address.
    said(vec![
        service(0, 9, &spare, "nobody.test"),
        service(1, 30, &one, "a.test"),
        service(1, 10, &two, "b.test"),
        service(2, 50, &spare, "c.test"),
    ]);
    let yaml = found(&server, "srv", "_http._tcp.models.test", "");
    let yaml = yaml.replace("probe: off", "probe: off, slots: 6");
    let proxy = Proxy::start(&yaml).await;
    let slots = |worker: &h::Worker| format!("worker_slots{{worker=\"w0@{}\"}}", worker.address);
    assert_eq!(proxy.figure(&slots(&one)).await, Some(6.0));
    assert_eq!(proxy.figure(&slots(&two)).await, Some(2.0));
    assert_eq!(proxy.figure(&slots(&spare)).await, None);
    let first = asking(&proxy, false);
    one.journal.holding(0).await;
    said(vec![
        service(1, 10, &one, "a.test"),
        service(1, 20, &two, "b.test"),
    ]);
    proxy.becomes(&slots(&two), 6.0).await;
    proxy.becomes(&slots(&one), 3.0).await;
    let draining = format!("worker_draining{{worker=\"w0@{}\"}}", one.address);
    assert_ne!(proxy.figure(&draining).await, Some(1.0));
    one.release();
    assert_eq!(who(first.await.unwrap()), "one");
}
