//! Versions: written in one step, read as they were written, kept and deleted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use telemetry_gossip_registry::Written;

use crate::cluster::Cluster;
use crate::proxy::Proxy;
use crate::support::{edition, long_edition, open, raw, read, write, write_next};

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_read_as_it_was_written_and_a_stale_base_conflicts() {
    let Some(cluster) = Cluster::shared() else { return };
    let store = open(&cluster.endpoints(), "one", "");
    assert_eq!(store.head().await, Ok(None));
    assert_eq!(store.document(1, 1).await, Ok(None));
    assert_eq!(store.versions().await, Ok(vec![]));

    let first = edition(1, &["a"]);
    assert_eq!(write(&*store, &first, None).await, Ok(Written::Done));
    let (found, bytes) = read(&*store).await;
    assert_eq!((found.head.hash, found.head.chunks), (first.hash(), 1));
    assert_eq!(bytes, first.bytes());
    assert_eq!(write(&*store, &edition(1, &["b"]), None).await, Ok(Written::Conflict));

    let second = edition(2, &["a", "b"]);
    assert_eq!(write(&*store, &second, Some(&found)).await, Ok(Written::Done));
    assert_eq!(write(&*store, &edition(2, &["c"]), Some(&found)).await, Ok(Written::Conflict));
    let (newest, bytes) = read(&*store).await;
    assert!(newest.revision > found.revision);
    assert_eq!(bytes, second.bytes(), "the loser of the conflict has changed nothing");
    assert_eq!(store.document(1, 1).await.unwrap().unwrap(), first.bytes());
    assert_eq!(store.versions().await, Ok(vec![1, 2]));

    // The same write once more, as after an answer that was lost: it is known again.
    assert_eq!(write(&*store, &second, Some(&found)).await, Ok(Written::Done));
    assert_eq!(read(&*store).await.0, newest, "and not written twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_writers_at_once_make_eight_versions_without_a_gap() {
    let Some(cluster) = Cluster::shared() else { return };
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let store = open(&cluster.endpoints(), "eight", "");
            tokio::spawn(async move {
                let name = format!("n{writer}");
                write_next(&*store, |version| edition(version, &[&name])).await
            })
        })
        .collect();
    let mut versions = Vec::new();
    for writer in writers {
        versions.push(writer.await.unwrap());
    }
    versions.sort_unstable();
    assert_eq!(versions, (1..=8).collect::<Vec<_>>());
    let store = open(&cluster.endpoints(), "eight", "");
    assert_eq!(store.versions().await.unwrap(), versions);
    assert_eq!(read(&*store).await.0.head.version, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_one_long_version_do_not_mix_their_chunks() {
    let Some(cluster) = Cluster::shared() else { return };
    for round in 0..4 {
        let name = format!("mixed-{round}");
        let writers: Vec<_> = ["a", "b", "c"]
            .into_iter()
            .map(|writer| {
                let store = open(&cluster.endpoints(), &name, "");
                let edition = long_edition(1, writer, 10_000);
                tokio::spawn(async move { write(&*store, &edition, None).await.unwrap() })
            })
            .collect();
        let mut done = 0;
        for writer in writers {
            done += usize::from(writer.await.unwrap() == Written::Done);
        }
        assert!(done <= 1, "{done} writers made version 1");
        let store = open(&cluster.endpoints(), &name, "");
        match store.head().await.unwrap() {
            None => assert_eq!(done, 0, "each has changed a chunk of another"),
            Some(_) => {
                let (found, bytes) = read(&*store).await;
                assert_eq!((done, found.head.chunks > 1), (1, true));
                let whole = telemetry_gossip_registry::DocumentHash::of(&bytes);
                assert_eq!(whole, found.head.hash, "all chunks are of one writer");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_not_made_if_another_writer_has_changed_one_of_its_chunks() {
    let Some(cluster) = Cluster::shared() else { return };
    let endpoints = cluster.endpoints();
    let proxy = Proxy::start(endpoints.split(',').next().unwrap()).await;
    let chunk = "/tgossip/changed/v/1/0";
    // Enough for the first chunk and not for the second.
    proxy.hold_requests_after(700_000);
    let store = open(&proxy.address, "changed", "");
    let edition = long_edition(1, "edge", 10_000);
    let writer = tokio::spawn(async move { write(&*store, &edition, None).await });
    let client = raw(&endpoints).build().unwrap();
    while client.get(chunk).await.unwrap().record().is_none() {
        tokio::task::yield_now().await;
    }
    client.put(chunk).value("of another writer").await.unwrap();
    proxy.hold_requests_after(usize::MAX);
    assert_eq!(writer.await.unwrap(), Ok(Written::Conflict));
    assert_eq!(open(&endpoints, "changed", "").head().await, Ok(None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_stops_before_its_head_changes_nothing() {
    let Some(cluster) = Cluster::shared() else { return };
    let store = open(&cluster.endpoints(), "half", "");
    write_next(&*store, |version| edition(version, &["a"])).await;
    let before = read(&*store).await;
    // What a writer has put that is killed before its last step.
    let half = long_edition(2, "half", 10_000);
    let client = raw(&cluster.endpoints()).build().unwrap();
    for (at, chunk) in half.bytes().chunks(512 << 10).take(2).enumerate() {
        client.put(format!("/tgossip/half/v/2/{at}")).value(chunk).await.unwrap();
    }
    assert_eq!(read(&*store).await, before);
    assert_eq!(store.versions().await, Ok(vec![1]), "it is no version");
    let whole = long_edition(2, "whole", 10_000);
    assert_eq!(write(&*store, &whole, Some(&before.0)).await, Ok(Written::Done));
    assert_eq!(read(&*store).await.1, whole.bytes());
    assert_eq!(store.versions().await, Ok(vec![1, 2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_in_one_etcd_do_not_see_each_other() {
    let Some(cluster) = Cluster::shared() else { return };
    let stores = ["pro", "prod", "prod2"].map(|name| open(&cluster.endpoints(), name, ""));
    for (store, member) in stores.iter().zip(["a", "b", "c"]) {
        assert_eq!(store.head().await, Ok(None));
        assert_eq!(write(&**store, &edition(1, &[member]), None).await, Ok(Written::Done));
    }
    write_next(&*stores[1], |version| edition(version, &["d"])).await;
    for (store, (versions, member)) in
        stores.iter().zip([(vec![1], "a"), (vec![1, 2], "d"), (vec![1], "c")])
    {
        assert_eq!(store.versions().await, Ok(versions.clone()));
        let version = versions.len() as u64;
        assert_eq!(read(&**store).await.1, edition(version, &[member]).bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_hundred_versions_are_kept() {
    let Some(cluster) = Cluster::shared() else { return };
    let store = open(&cluster.endpoints(), "old", "");
    for (version, kept) in [
        (1, vec![1]),
        (2, vec![1, 2]),
        (100, vec![1, 2, 100]),
        (101, vec![2, 100, 101]),
        (102, vec![100, 101, 102]),
        (1_000, vec![1_000]),
    ] {
        let base = store.head().await.unwrap();
        let written = write(&*store, &edition(version, &["a"]), base.as_ref()).await;
        assert_eq!(written, Ok(Written::Done));
        assert_eq!(store.versions().await, Ok(kept), "after version {version}");
    }
    assert_eq!(store.document(1, 1).await, Ok(None));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_members_are_read_within_a_second_while_etcd_is_compacted() {
    let Some(cluster) = Cluster::shared() else { return };
    let store = open(&cluster.endpoints(), "large", "");
    let large = long_edition(1, "edge", 10_000);
    assert_eq!(write(&*store, &large, None).await, Ok(Written::Done));
    assert_eq!(store.head().await.unwrap().unwrap().head.chunks, 3);
    let client = raw(&cluster.endpoints()).build().unwrap();
    let is_done = AtomicBool::new(false);
    let compact = async {
        let mut compacted = 0;
        while !is_done.load(Ordering::Relaxed) || compacted < 5 {
            let put = client.put("/other").value("x").await.unwrap();
            // Another test's compaction may have gone further already.
            if client.compact(put.header().revision()).await.is_ok() {
                compacted += 1;
            }
        }
        compacted
    };
    let reads = async {
        let mut longest = Duration::ZERO;
        for _ in 0..10 {
            let start = Instant::now();
            let (_, bytes) = read(&*store).await;
            longest = longest.max(start.elapsed());
            assert_eq!(bytes, large.bytes());
        }
        is_done.store(true, Ordering::Relaxed);
        longest
    };
    let (compacted, longest) = tokio::join!(compact, reads);
    println!("{compacted} compactions, the longest read took {longest:?}");
    assert!(longest < Duration::from_secs(1), "{longest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_no_registry_writes_is_named() {
    let Some(cluster) = Cluster::shared() else { return };
    let client = raw(&cluster.endpoints()).build().unwrap();
    let store = open(&cluster.endpoints(), "damaged", "");
    client.put("/tgossip/damaged/head").value("{\"format\":2}").await.unwrap();
    let error = store.head().await.unwrap_err().to_string();
    assert!(error.contains("format 2") || error.contains("newer"), "{error}");
    client.put("/tgossip/damaged/head").value("[").await.unwrap();
    assert!(store.head().await.is_err());
    for chunks in [0, 17, u32::MAX] {
        let error = store.document(1, chunks).await.unwrap_err().to_string();
        assert!(error.contains("1 to 16 are allowed"), "{error}");
    }
}
