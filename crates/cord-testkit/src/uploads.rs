//! The hub's side of a push: repositories and branches made, content taken through LFS, whole or in parts, and commits.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::HubServer;
use crate::hub::{HubWorld, falls_to};

/// Where content goes: another address than the hub's, signed.
const STORE: &str = "/store/";

/// The status by which a request is refused, if it is.
pub(crate) fn refused(path: &str, world: &mut HubWorld) -> Option<String> {
    let (part, status, times) = world.refuses.as_mut()?;
    falls_to(part, times, path).then(|| format!("{status} Refused"))
}

/// Does what is asked. Gives a status, headers and a body.
pub(crate) fn answer(
    method: &str,
    path: &str,
    bearer: &str,
    host: &str,
    body: &[u8],
    world: &mut HubWorld,
) -> (String, String, String) {
    let plain = |status: &str, said: &str| (status.to_owned(), String::new(), said.to_owned());
    if let Some(status) = refused(path, world) {
        // A careless server repeats what it was sent.
        return plain(&status, &format!("refused; you said {bearer}"));
    }
    let path = path.split('?').next().unwrap_or_default();
    if let Some(object) = path.strip_prefix(STORE) {
        assert!(bearer.is_empty(), "the token went to the store");
        return store(method, object, body, world);
    }
    if world.token.as_ref().is_some_and(|token| bearer != format!("Bearer {token}")) {
        return plain("401 Unauthorized", "Invalid username or password.");
    }
    let name = HubServer::NAME;
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    if path == "/api/repos/create" {
        if !world.is_missing {
            return plain("409 Conflict", "You already created this model repo");
        }
        world.is_missing = false;
        world.made.push(said);
        world.files.insert(".gitattributes".to_owned(), b"*.safetensors filter=lfs\n".to_vec());
        return plain("200 OK", &json!({"url": format!("http://{host}/{name}")}).to_string());
    }
    if path.ends_with(&format!("{name}.git/info/lfs/objects/batch")) {
        return plain("200 OK", &batch(&said, host, world).to_string());
    }
    let rest = ["models", "datasets"].iter().find_map(|kind| path.strip_prefix(&format!("/api/{kind}/{name}/")));
    let (what, revision) = rest.and_then(|rest| rest.split_once('/')).unwrap_or_default();
    let revision = revision.replace("%2F", "/");
    if world.is_missing || (what != "branch" && revision != "main" && !world.branches.contains(&revision)) {
        return plain("404 Not Found", "Not found");
    }
    match what {
        "branch" => {
            world.branches.push(revision);
            plain("200 OK", "{}")
        }
        "preupload" => plain("200 OK", &modes(&said, world).to_string()),
        "commit" => match commit(body, world) {
            Ok(()) => plain("200 OK", &json!({"success": true, "commitOid": HubServer::COMMIT}).to_string()),
            Err(fault) => plain("400 Bad Request", &fault),
        },
        _ => plain("404 Not Found", "Not found"),
    }
}

fn modes(said: &Value, world: &HubWorld) -> Value {
    let files = said["files"].as_array().into_iter().flatten().map(|file| {
        let path = file["path"].as_str().unwrap_or_default();
        let large = [".safetensors", ".parquet"].iter().any(|ending| path.ends_with(ending));
        let ignored = world.ignores.iter().any(|ignored| ignored == path);
        json!({"path": path, "uploadMode": if large { "lfs" } else { "regular" }, "shouldIgnore": ignored})
    });
    json!({"files": files.collect::<Vec<_>>()})
}

fn batch(said: &Value, host: &str, world: &HubWorld) -> Value {
    let host = host.replace("127.0.0.1", "localhost");
    let objects = said["objects"].as_array().into_iter().flatten().map(|object| {
        let (oid, size) = (object["oid"].as_str().unwrap_or_default(), object["size"].as_u64().unwrap_or(0));
        if world.stored.contains_key(oid) {
            return json!({"oid": oid, "size": size});
        }
        let url = |more: &str| format!("http://{host}{STORE}{oid}{more}?signature=private");
        let upload = match world.part {
            None => json!({"href": url(""), "header": {"x-checked": "yes"}}),
            Some(part) => {
                let mut header = serde_json::Map::from_iter([("chunk_size".to_owned(), json!(part.to_string()))]);
                for place in 1..=size.div_ceil(part as u64) {
                    header.insert(format!("{place:05}"), json!(url(&format!("/{place}"))));
                }
                json!({"href": url("/complete"), "header": header})
            }
        };
        json!({"oid": oid, "size": size, "actions": {"upload": upload}})
    });
    json!({"transfer": "basic", "objects": objects.collect::<Vec<_>>()})
}

/// Takes content, a part of it, or the word that all parts are there. What has another digest is refused.
fn store(method: &str, object: &str, body: &[u8], world: &mut HubWorld) -> (String, String, String) {
    let plain = |status: &str, said: &str| (status.to_owned(), String::new(), said.to_owned());
    let (oid, place) = object.split_once('/').unwrap_or((object, ""));
    let whole = match (method, place) {
        ("PUT", "") => body.to_vec(),
        ("PUT", place) => {
            let Ok(place) = place.parse::<usize>() else { return plain("400 Bad Request", "no such part") };
            world.parts.entry(oid.to_owned()).or_default().insert(place, body.to_vec());
            return ("200 OK".to_owned(), format!("ETag: \"tag-{place}\"\r\n"), String::new());
        }
        _ => {
            let said: Value = serde_json::from_slice(body).unwrap_or_default();
            let parts = world.parts.remove(oid).unwrap_or_default();
            let tags: Vec<Value> =
                parts.keys().map(|place| json!({"partNumber": place, "etag": format!("\"tag-{place}\"")})).collect();
            if said["parts"] != json!(tags) {
                return plain("400 Bad Request", "other parts came");
            }
            parts.into_values().flatten().collect()
        }
    };
    if HubServer::sha256(&whole) != oid {
        return plain("400 Bad Request", "the content has another digest");
    }
    world.stored.insert(oid.to_owned(), whole);
    plain("200 OK", "")
}

/// Makes a commit of lines of JSON: all of its files, or none.
fn commit(body: &[u8], world: &mut HubWorld) -> Result<(), String> {
    let (mut files, mut large, mut message) = (Vec::new(), Vec::new(), None);
    for line in String::from_utf8_lossy(body).lines() {
        let line: Value = serde_json::from_str(line).map_err(|error| format!("`{line}`: {error}"))?;
        let value = &line["value"];
        let word = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        match line["key"].as_str() {
            Some("header") => message = Some(word("summary")),
            Some("file") if word("encoding") == "base64" => {
                files.push((word("path"), STANDARD.decode(word("content")).map_err(|error| error.to_string())?));
            }
            Some("lfsFile") => {
                let stored =
                    world.stored.get(&word("oid")).ok_or_else(|| format!("no content of `{}`", word("path")))?;
                files.push((word("path"), stored.clone()));
                large.push(word("path"));
            }
            _ => return Err(format!("a line that nobody knows: {line}")),
        }
    }
    world.commits.push(message.ok_or("no header")?);
    world.large.retain(|path| !files.iter().any(|(file, _)| file == path));
    world.large.extend(large);
    world.files.extend(files);
    Ok(())
}
