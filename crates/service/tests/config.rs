//! What a configuration may say: the example, and every mistake with what is said of it.

use std::error::Error;
use std::path::{Path, PathBuf};

use hedgerow_astarte_emulator::RealmKeys;
use hedgerow_service::{Config, ConfigError, Problem};
use tempfile::TempDir;

type Outcome = Result<(), Box<dyn Error>>;

/// A configuration that can be used.
const GOOD: &str = r#"
store = "hedgerow.db"
[http]
listen = "0.0.0.0:4080"
public_url = "https://updates.example/"
allowed_origins = ["https://dashboard.example"]
certificate = "tls.pem"
private_key = "tls.key"
[images]
folder = "images"
[astarte]
root_certificates = ["tls.pem"]
triggers_secret_file = "secret"
[[tenants]]
name = "gardens"
keys = ["public.pem"]
[tenants.astarte]
url = "https://api.astarte.example"
private_key = "private.pem"
"#;

/// A folder with every file that it names.
fn folder() -> Result<TempDir, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    let keys = RealmKeys::generate()?;
    std::fs::write(at("public.pem"), keys.public_key_pem())?;
    std::fs::write(at("private.pem"), keys.private_key_pem().expect("generated"))?;
    std::fs::write(at("secret"), "s3cret\n")?;
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    std::fs::write(at("tls.pem"), own.cert.pem())?;
    std::fs::write(at("tls.key"), own.signing_key.serialize_pem())?;
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    std::fs::write(at("other.key"), other.signing_key.serialize_pem())?;
    std::fs::write(at("binary"), [0xff, 0xfe, 0x00])?;
    Ok(folder)
}

fn check(folder: &Path, text: &str) -> Result<hedgerow_service::Setup, ConfigError> {
    let file = folder.join("hedgerow.toml");
    std::fs::write(&file, text).expect("written");
    Config::read(&file)?.check(&file)
}

#[test]
fn a_good_configuration_is_taken_and_paths_are_beside_it() -> Outcome {
    let folder = folder()?;
    let setup = check(folder.path(), GOOD)?;
    assert_eq!(setup.store, folder.path().join("hedgerow.db"));
    assert_eq!(setup.public_url, "https://updates.example");
    assert!(setup.tls.is_some() && setup.triggers_secret.is_some());
    assert_eq!(setup.tenants.len(), 1);
    assert!(folder.path().join("images").is_dir());
    Ok(())
}

#[test]
#[allow(clippy::format_collect)]
fn the_example_is_right_but_for_the_files_and_folders_that_it_names() -> Outcome {
    let example = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("hedgerow.example.toml");
    let config = Config::read(&example)?;
    let places = |config: &Config, file: &Path| match config.check(file) {
        Ok(_) => Vec::new(),
        Err(error) => error.problems.into_iter().map(|problem| problem.place).collect(),
    };
    let folder = folder()?;
    let file = folder.path().join("hedgerow.toml");
    let keys = RealmKeys::generate()?;
    std::fs::write(folder.path().join("gardens-public.pem"), keys.public_key_pem())?;
    let private = keys.private_key_pem().expect("generated");
    std::fs::write(folder.path().join("gardens-private.pem"), private)?;
    std::fs::write(folder.path().join("triggers-secret"), "s3cret")?;
    let mut config = config;
    config.store = "hedgerow.db".into();
    config.images.folder = Some("images".into());
    assert_eq!(places(&config, &file), Vec::<String>::new());

    // What is commented out can be taken in.
    let text = std::fs::read_to_string(&example)?;
    let with_all: String = text
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|rest| is_a_line_of_toml(rest)).unwrap_or(line))
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(with_all.contains("\n[images.s3]\n") && with_all.contains("\nfilter = \"info\"\n"));
    let all = folder.path().join("all.toml");
    std::fs::write(&all, with_all)?;
    let config = Config::read(&all)?;
    assert_eq!(config.http.stop_seconds, 20);
    assert!(config.images.s3.is_some_and(|bucket| bucket.signed_hours == 168));
    Ok(())
}

/// Not prose.
fn is_a_line_of_toml(text: &str) -> bool {
    let is_key =
        |key: &str| key.trim().bytes().all(|b| b.is_ascii_lowercase() || b"_3".contains(&b));
    text.starts_with('[') || text.split_once(" = ").is_some_and(|(key, _)| is_key(key))
}

#[test]
fn each_mistake_is_named_with_its_place_and_what_to_do() -> Outcome {
    let folder = folder()?;
    for (from, to, place, says) in [
        ("store = \"hedgerow.db\"", "store = \"none/h.db\"", "store", "create it"),
        ("store = \"hedgerow.db\"", "store = \".\"", "store", "is a folder"),
        ("0.0.0.0:4080", "127.0.0.1", "", "such as \"127.0.0.1:4080\""),
        ("\"0.0.0.0:4080\"", "4080", "", "such as \"127.0.0.1:4080\""),
        ("public_url = \"https://updates.example/\"", "", "http.public_url", "give what browsers"),
        ("https://updates.example/", "updates.example", "http.public_url", "is not an address"),
        (
            "\"https://dashboard.example\"",
            "\"https://d.example/x\"",
            "http.allowed_origins[0]",
            "is not an origin",
        ),
        ("\"https://dashboard.example\"", "\"*\"", "http.allowed_origins[0]", "is not an origin"),
        ("private_key = \"tls.key\"", "", "http.private_key", "give the key"),
        ("certificate = \"tls.pem\"\n", "", "http.certificate", "give the certificate"),
        ("\"tls.key\"", "\"other.key\"", "http.certificate", "do not go together"),
        ("\"tls.key\"", "\"secret\"", "http.certificate", "no key that can be read"),
        ("folder = \"images\"", "", "images", "give images.folder"),
        ("folder = \"images\"", "folder = \"secret\"", "images", "let this user"),
        (
            "folder = \"images\"",
            "folder = \"images\"\nlargest_mib = 0",
            "images.largest_mib",
            "at least 1",
        ),
        (
            "folder = \"images\"",
            "folder = \"images\"\nkeep_unnamed_hours = 0",
            "images.keep_unnamed_hours",
            "at least 1",
        ),
        (
            "root_certificates = [\"tls.pem\"]",
            "root_certificates = [\"secret\"]",
            "astarte.root_certificates",
            "PEM",
        ),
        ("\"secret\"", "\"binary\"", "astarte.triggers_secret_file", "is not text"),
        ("\"secret\"", "\"secret\"\nround_seconds = 0", "astarte.round_seconds", "at least 1"),
        (
            "\"secret\"",
            "\"secret\"\ntriggers_secret_header = \"a b\"",
            "astarte.triggers_secret_header",
            "no name of a header",
        ),
        ("name = \"gardens\"", "name = \"the gardens\"", "tenants[0].name", "is not a tenant"),
        ("name = \"gardens\"", "name = \"Gardens\"", "tenants[0].astarte", "realm"),
        ("keys = [\"public.pem\"]", "", "tenants[0].keys", "open_to_this_machine = true"),
        (
            "keys = [\"public.pem\"]",
            "open_to_this_machine = true",
            "tenants[0].keys",
            "only this machine may ask",
        ),
        (
            "keys = [\"public.pem\"]",
            "keys = [\"public.pem\"]\nopen_to_this_machine = true",
            "tenants[0].keys",
            "not both",
        ),
        (
            "certificate = \"tls.pem\"\n",
            "certificate = \"tls.pem\"\nconnections = 0\n",
            "http.connections",
            "at least 1",
        ),
        ("keys = [\"public.pem\"]", "keys = [\"private.pem\"]", "tenants[0].keys[0]", "public key"),
        (
            "keys = [\"public.pem\"]",
            "keys = [\"missing.pem\"]",
            "tenants[0].keys[0]",
            "cannot be read",
        ),
        (
            "url = \"https://api.astarte.example\"",
            "url = \"api.astarte.example\"",
            "tenants[0].astarte",
            "base URL",
        ),
        ("private_key = \"private.pem\"", "", "tenants[0].astarte", "private_key"),
        ("\"private.pem\"", "\"public.pem\"", "tenants[0].astarte.private_key", "private key"),
        ("\n[images]", "\n[log]\nfilter = \"a=b=c\"\n[images]", "log.filter", "no filter"),
        ("\n[images]", "\n[log]\nformat = \"xml\"\n[images]", "", "unknown variant"),
        ("listen =", "listens =", "", "unknown field `listens`"),
        ("store =", "store", "", "line 2"),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let problems = match check(folder.path(), &GOOD.replacen(from, to, 1)) {
            Ok(_) => panic!("{to:?} was taken"),
            Err(error) => error.problems,
        };
        let found = problems
            .iter()
            .any(|Problem { place: at, text, .. }| at == place && text.contains(says));
        assert!(found && problems.len() == 1, "{to:?}: {problems:#?}");
    }
    Ok(())
}

#[test]
fn everything_that_is_wrong_is_told_at_once_and_no_secret_with_it() -> Outcome {
    let folder = folder()?;
    let text = GOOD
        .replace("https://dashboard.example", "nowhere")
        .replace("\"public.pem\"", "\"secret\"")
        .replace("\"private.pem\"", "\"secret\"");
    let Err(error) = check(folder.path(), &text) else { panic!("it was taken") };
    let told = error.to_string();
    assert_eq!(error.problems.len(), 3, "{told}");
    assert!(told.contains("hedgerow.toml") && !told.contains("s3cret"), "{told}");
    let Err(error) = check(folder.path(), "store = \"h.db\"\n[images]\nfolder = \"images\"\n")
    else {
        panic!("it was taken")
    };
    assert!(error.to_string().contains("tenants: give at least one tenant"), "{error}");
    Ok(())
}
