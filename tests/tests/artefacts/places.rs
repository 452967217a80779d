//! What can be wrong around a component: its file, its options, its pin, its signature.

use std::{fs, os::unix::net::UnixListener, process::Command};

use tollgate_tests::{Setup, place};

use crate::{Stage, changed, good, yaml};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_in_a_components_place_is_named() {
    let setup = Setup::new(&yaml("", "")).file("mine.wasm", good());
    let stage = Stage::new(setup).await;
    let path = stage.path("mine.wasm");

    fs::remove_file(&path).unwrap();
    stage
        .refuses("nothing", &["mine.wasm cannot be read", "No such file"])
        .await;
    fs::create_dir(&path).unwrap();
    stage
        .refuses("a folder", &["it is a folder; name the file in it"])
        .await;
    stage.clear("mine.wasm");
    std::os::unix::fs::symlink("nowhere", &path).unwrap();
    stage.refuses("a link to nothing", &["No such file"]).await;
    stage.clear("mine.wasm");
    std::os::unix::fs::symlink("mine.wasm", &path).unwrap();
    stage
        .refuses("a link to itself", &["cannot be read", "symbolic links"])
        .await;
    stage.clear("mine.wasm");
    // Nobody ever writes to it, and nobody waits for that.
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    stage.refuses("a pipe", &["it is no regular file"]).await;
    stage.clear("mine.wasm");
    let socket = UnixListener::bind(&path).unwrap();
    stage.refuses("a socket", &["it is no regular file"]).await;
    drop(socket);
    stage.clear("mine.wasm");
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    stage.refuses("a device", &["it is no regular file"]).await;
    stage.clear("mine.wasm");
    // Of holes: it takes no room.
    let sparse = fs::File::create(&path).unwrap();
    sparse.set_len(3 << 30).unwrap();
    stage
        .refuses("three GiB", &["it has 3221225472 bytes", "are taken"])
        .await;

    stage.put("mine.wasm", &changed(&good()));
    stage.recovers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_that_do_not_fit_are_refused_with_the_plugins_words() {
    let options =
        ", options: { fault: { file: fault.txt }, when: { file: when.txt }, marked: true }";
    let setup = Setup::new(&yaml(options, ""))
        .file("fault.txt", "trap")
        .file("when.txt", "step")
        .file("mine.wasm", good());
    let stage = Stage::new(setup).await;
    for (fault, when, words) in [
        (
            "nothing-we-know",
            "step",
            &["refuses its options", "/fault", "(masked)"][..],
        ),
        ("trap", "never", &["refuses its options", "/when"]),
        (
            "trap",
            "configure",
            &["failed on trial, in configure", "its own tests"],
        ),
        (
            "loop",
            "configure",
            &["in configure: spent its", "limits.cpu-large"],
        ),
        (
            "allocate",
            "configure",
            &["failed on trial, in configure", "limits."],
        ),
        (
            "recurse",
            "configure",
            &["failed on trial, in configure", "stack"],
        ),
    ] {
        stage.put("when.txt", when.as_bytes());
        stage.put("fault.txt", fault.as_bytes());
        stage.refuses(&format!("{fault} when {when}"), words).await;
    }
    fs::remove_file(stage.path("fault.txt")).unwrap();
    let log = stage.proxy.log();
    assert!(!log.contains("nothing-we-know"), "files are secrets");
    stage
        .refuses("no file of an option", &["fault.txt", "No such file"])
        .await;
    stage.put("when.txt", b"step");
    stage.put("fault.txt", b"loop");
    stage.recovers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_of_another_digest_is_refused_with_both() {
    let good = good();
    let digest = sha256(&good);
    let setup = Setup::new(&yaml(&format!(", sha256: {digest}"), "")).file("mine.wasm", &good);
    let stage = Stage::new(setup).await;
    let other = changed(&good);
    let found = sha256(&other);
    for (name, bytes, found) in [
        ("one section more", &other[..], found.as_str()),
        (
            "empty",
            b"",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
    ] {
        stage.put("mine.wasm", bytes);
        let words = [found, digest.as_str(), "change `sha256` if it is this one"];
        stage.refuses(name, &words).await;
    }
    assert!(stage.asked.load(std::sync::atomic::Ordering::Relaxed) > 0);

    // At the start there is nothing that could stay.
    let wrong = yaml(&format!(", sha256: {found}"), "");
    let said = Setup::new(&wrong).file("mine.wasm", &good).refused().await;
    assert!(said.contains(&digest) && said.contains(&found), "{said}");
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    hex::encode(sha2::Sha256::digest(bytes))
}

/// The verbs, as one types them.
fn plugin(folder: &std::path::Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(place::binary())
        .arg("plugin")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the binary runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

const TRUST: &str = "trust: { keys: [{ name: release, file: release.pub }] }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_a_trusted_key_signed_takes_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| plugin(folder.path(), arguments).expect("it goes well");
    for key in ["release", "stranger"] {
        run(&["keygen", key]);
    }
    let good = good();
    let other = changed(&good);
    let sign = |component: &[u8], key: &str, embed: bool| {
        let path = folder.path().join("it.wasm");
        let beside = folder.path().join("it.wasm.sig");
        let _ = fs::remove_file(&beside);
        fs::write(&path, component).unwrap();
        let key = format!("{key}.key");
        if embed {
            run(&["sign", "it.wasm", "--key", &key, "--embed"]);
            return (fs::read(&path).unwrap(), Vec::new());
        }
        run(&["sign", "it.wasm", "--key", &key]);
        (fs::read(&path).unwrap(), fs::read(&beside).unwrap())
    };
    let (_, signature) = sign(&good, "release", false);
    let public = fs::read(folder.path().join("release.pub")).unwrap();
    let setup = Setup::new(&yaml("", TRUST))
        .file("mine.wasm", &good)
        .file("mine.wasm.sig", &signature)
        .file("release.pub", &public);
    let stage = Stage::new(setup).await;

    // The manifest's words are in the component.
    let mut manifest = good.clone();
    let word = b"additionalProperties";
    let at = manifest
        .windows(word.len())
        .position(|it| it == word)
        .unwrap();
    manifest[at] = b'A';
    let mut flipped = good.clone();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    let (strange, by_stranger) = sign(&good, "stranger", false);
    assert_eq!(strange, good, "a signature beside it changes nothing");
    let mut forged = signature.clone();
    *forged.last_mut().unwrap() ^= 1;
    let mut algorithm = signature.clone();
    let at = algorithm.len() - 64 - 2;
    algorithm[at] = 9;
    let (inside, _) = sign(&other, "stranger", true);
    let (mut inside_cut, _) = sign(&other, "release", true);
    // The length of the signature in the section, which says then that there is more of it.
    let at = inside_cut
        .windows(9)
        .position(|it| it == b"signature")
        .unwrap()
        + 9
        + 3;
    inside_cut[at] += 1;

    let changed_words: &[&str] = &["it was changed after it was signed", "sign it anew"];
    let malformed: &[&str] = &[
        "its signature (beside the component) cannot be read",
        "anew by",
    ];
    /// What it is, the component, the signature beside it, what the error has to say.
    type Case<'a> = (&'a str, &'a [u8], Option<&'a [u8]>, &'a [&'a str]);
    let cases: Vec<Case<'_>> = vec![
        (
            "unsigned",
            &other,
            None,
            &["it is not signed", "tollgate plugin sign", "trust.unsigned"],
        ),
        ("a changed byte", &flipped, Some(&signature), changed_words),
        (
            "a changed manifest",
            &manifest,
            Some(&signature),
            changed_words,
        ),
        ("another component", &other, Some(&signature), changed_words),
        (
            "a stranger's",
            &good,
            Some(&by_stranger),
            &["none of the trusted keys (release = ", "trust.keys"],
        ),
        (
            "a stranger's, inside",
            &inside,
            None,
            &["none of the trusted keys", "trust.keys"],
        ),
        (
            "forged",
            &good,
            Some(&forged),
            &["names the trusted key release and does not fit it"],
        ),
        (
            "another algorithm",
            &good,
            Some(&algorithm),
            &["its algorithm is 9, which is not known"],
        ),
        ("an empty signature", &good, Some(b""), malformed),
        ("cut in its head", &good, Some(&signature[..2]), malformed),
        ("cut in its hash", &good, Some(&signature[..20]), malformed),
        (
            "cut in its end",
            &good,
            Some(&signature[..signature.len() - 1]),
            malformed,
        ),
        (
            "longer",
            &good,
            Some(b"\x01\x01\x01\x00x"),
            &["1 bytes stand behind its end"],
        ),
        (
            "of nothing",
            &good,
            Some(b"\x01\x01\x01\x00"),
            changed_words,
        ),
        (
            "another version",
            &good,
            Some(b"\x02\x01\x01\x00"),
            &["its version is 2, which is not known"],
        ),
        (
            "PEM",
            &good,
            Some(&public),
            &["its version is 45, which is not known"],
        ),
        (
            "damaged inside",
            &inside_cut,
            None,
            &["its signature (inside the component) cannot be read"],
        ),
        (
            "signed and no component",
            b"hello",
            Some(&signature),
            &["not a WebAssembly component"],
        ),
    ];
    for (name, component, signature, words) in cases {
        let _ = fs::remove_file(stage.path("mine.wasm.sig"));
        stage.put("mine.wasm", component);
        if let Some(signature) = signature {
            stage.put("mine.wasm.sig", signature);
        }
        stage.refuses(name, words).await;
    }
    let (embedded, _) = sign(&other, "release", true);
    let _ = fs::remove_file(stage.path("mine.wasm.sig"));
    stage.put("mine.wasm", &embedded);
    for (name, key, words) in [
        (
            "no key",
            &b"hello"[..],
            &["trusted key release", "is no Ed25519 key"][..],
        ),
        (
            "a private key",
            &fs::read(folder.path().join("release.key")).unwrap(),
            &["trusted key release", "this is a private key"],
        ),
        (
            "another key",
            &fs::read(folder.path().join("stranger.pub")).unwrap(),
            &["none of the trusted keys"],
        ),
    ] {
        stage.put("release.pub", key);
        stage.refuses(name, words).await;
    }
    fs::remove_file(stage.path("release.pub")).unwrap();
    stage
        .refuses("the key is gone", &["trusted key release", "No such file"])
        .await;
    stage.put("release.pub", &public);
    stage.recovers().await;
}

/// What goes wrong where one signs is said there.
#[test]
fn the_verbs_make_keys_sign_and_verify() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| plugin(folder.path(), arguments);
    let file = |name: &str| folder.path().join(name);
    fs::write(file("it.wasm"), good()).unwrap();
    let told = run(&["keygen", "mine"]).unwrap();
    assert!(
        told.contains("keys: [{ name: mine, file: mine.pub }]"),
        "{told}"
    );
    let mode = fs::metadata(file("mine.key")).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777,
        0o600
    );
    let again = run(&["keygen", "mine"]).unwrap_err();
    assert!(again.contains("is there already"), "{again}");

    let said = run(&["verify", "it.wasm", "--key", "mine.pub"]).unwrap_err();
    assert!(said.contains("it.wasm: it is not signed"), "{said}");
    run(&["sign", "it.wasm", "--key", "mine.key"]).unwrap();
    let told = run(&["verify", "it.wasm", "--key", "mine.pub"]).unwrap();
    assert!(told.contains("it.wasm: signed by mine.pub"), "{told}");
    run(&["keygen", "other"]).unwrap();
    let said = run(&["verify", "it.wasm", "--key", "other.pub"]).unwrap_err();
    assert!(
        said.contains("none of the trusted keys (other.pub = "),
        "{said}"
    );
    // Both may sign, and either will do.
    run(&["sign", "it.wasm", "--key", "other.key"]).unwrap();
    for key in ["mine.pub", "other.pub"] {
        run(&["verify", "it.wasm", "--key", key]).unwrap();
    }
    fs::remove_file(file("it.wasm.sig")).unwrap();
    let before = fs::read(file("it.wasm")).unwrap();
    run(&["sign", "it.wasm", "--key", "mine.key", "--embed"]).unwrap();
    assert_ne!(fs::read(file("it.wasm")).unwrap(), before);
    run(&["verify", "it.wasm", "--key", "mine.pub"]).unwrap();

    let said = run(&["sign", "it.wasm", "--key", "mine.pub"]).unwrap_err();
    assert!(said.contains("this is a public key"), "{said}");
    let said = run(&["verify", "it.wasm", "--key", "mine.key"]).unwrap_err();
    assert!(said.contains("this is a private key"), "{said}");
    let said = run(&["sign", "mine.pub", "--key", "mine.key"]).unwrap_err();
    assert!(said.contains("no WebAssembly binary"), "{said}");
}
