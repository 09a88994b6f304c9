//! Nodes whose links are encrypted.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::three::Three;
use super::{reserve, until};

/// Writes the certificates of a node on this machine, of an authority of this name, and that of the authority.
fn certify(folder: &Path, authority: &str) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, authority);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    for (name, text) in [("ca", authority.pem()), ("cert", certificate.pem()), ("key", key.serialize_pem())] {
        fs::write(folder.join(name), text).unwrap();
    }
}

#[test]
fn a_node_with_a_certificate_of_another_authority_is_kept_out_and_the_log_says_why() {
    let folder = tempfile::tempdir().unwrap();
    certify(folder.path(), "ours");
    let lines = [("cacertfile", "ca"), ("certfile", "cert"), ("keyfile", "key")];
    let lines =
        lines.map(|(key, file)| format!("cluster.ssl_options.{key} = {}\n", folder.path().join(file).display()));
    let ports: Vec<_> = (0..6).map(|_| reserve()).collect();
    let address = |at: usize| ports[at].local_addr().unwrap();
    let (clients, peers) = ([0, 1, 2].map(address), [3, 4, 5].map(address));
    let mut three = Three::start_at(clients, peers, [const { Vec::new() }; 3], &lines.concat(), ports);
    three.declare(0, "encrypted");
    three.kill(2);
    three.restart(2);
    let ours = ["ca", "cert", "key"].map(|file| (file, fs::read(folder.path().join(file)).unwrap()));
    three.kill(2);
    certify(folder.path(), "others");
    three.begin(2);
    until("the stranger is told why", || three.logged(2).contains("UnknownIssuer"));
    until("the others say so", || (0..2).any(|at| three.logged(at).contains("a connection for nodes is refused")));
    thread::sleep(Duration::from_secs(1));
    let running = three.control(0, &["cluster_status", "--formatter", "json"]);
    let running: serde_json::Value = serde_json::from_str(&running).unwrap();
    assert_eq!(running["running_nodes"].as_array().map(Vec::len), Some(2), "{running}");
    three.kill(2);
    ours.iter().for_each(|(file, bytes)| fs::write(folder.path().join(file), bytes).unwrap());
    three.restart(2);
    three.declare(2, "after");
}
