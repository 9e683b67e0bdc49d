//! Finished stages in an object store, for machines that share no file system.
//!
//! ```text
//! <url>/<recipe>/<stage>-<short key>/<file>         as in the folder
//! <url>/<recipe>/<stage>-<short key>/manifest.json  put last: without it the stage does not exist there
//! ```
//!
//! Journals stay where they were written: they serve to resume, and a finished stage needs no resuming. An object store
//! has no locks and needs none here, for a stage's files are a function of its key: two machines that push one
//! stage push the same bytes.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use cord_core::Digest;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use crate::folder::{COSTS, TIMINGS};
use crate::manifest::MANIFEST;
use crate::{Manifest, StageFolder, Store, StoreError, durable};

/// Bytes of one part of a large file. S3 takes parts of 5 MiB to 5 GiB, at most 10,000 of them: this is enough
/// for 160 GB a file.
const PART: usize = 16 << 20;

/// A place in an object store, under which a recipe's stages are.
///
/// Its calls block until they are done.
#[derive(Debug)]
pub struct Remote {
    url: String,
    objects: Arc<dyn ObjectStore>,
    root: Key,
    /// The HTTP client works in one; local files need none.
    #[cfg(feature = "s3")]
    runtime: tokio::runtime::Runtime,
}

impl Remote {
    /// Opens `file:///folder`, `memory:///`, or in a build with the feature `s3` `s3://bucket/folder`, whose
    /// credentials, region and endpoint are read from the environment (`AWS_ACCESS_KEY_ID` and so on).
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let fault = |reason: String| StoreError::Remote { url: url.to_owned(), action: "open it".to_owned(), reason };
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(fault("expected `s3://<bucket>/<folder>` or `file:///<folder>`".to_owned()));
        };
        let plain = |error: object_store::Error| fault(error.to_string());
        let (objects, root): (Arc<dyn ObjectStore>, &str) = match scheme {
            "memory" => (Arc::new(object_store::memory::InMemory::new()), rest),
            "file" => {
                let folder = Path::new(rest);
                if !folder.is_absolute() {
                    return Err(fault(format!("expected an absolute path after `file://`, got `{rest}`")));
                }
                fs::create_dir_all(folder).map_err(StoreError::io(folder, "make the folder"))?;
                (Arc::new(object_store::local::LocalFileSystem::new_with_prefix(folder).map_err(plain)?), "")
            }
            #[cfg(feature = "s3")]
            "s3" => {
                let (bucket, root) = rest.split_once('/').unwrap_or((rest, ""));
                let builder = object_store::aws::AmazonS3Builder::from_env().with_bucket_name(bucket);
                (Arc::new(builder.build().map_err(plain)?), root)
            }
            #[cfg(not(feature = "s3"))]
            "s3" => {
                return Err(fault("this build has no S3; build with `--features s3`".to_owned()));
            }
            other => return Err(fault(format!("expected the scheme `s3` or `file`, got `{other}`"))),
        };
        let root = Key::parse(root.trim_matches('/')).map_err(|error| fault(error.to_string()))?;
        Ok(Self {
            #[cfg(feature = "s3")]
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| fault(error.to_string()))?,
            url: url.to_owned(),
            objects,
            root,
        })
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Puts a finished stage there, its manifest last. Nothing is sent where the same stage is there already.
    pub fn push(&self, store: &Store, stage: &StageFolder) -> Result<(), StoreError> {
        self.block_on(self.push_files(store, stage))
    }

    async fn push_files(&self, store: &Store, stage: &StageFolder) -> Result<(), StoreError> {
        let manifest = stage.manifest();
        let folder = self.folder(store, &manifest.stage, manifest.key);
        if let Some(there) = self.get(&folder.clone().join(MANIFEST)).await? {
            // Timings and costs may differ: those of the first push stay with its files.
            return match serde_json::from_slice::<Manifest>(&there) {
                Ok(there) if there.files == manifest.files => Ok(()),
                _ => Err(StoreError::Remote {
                    url: self.address(&folder),
                    action: "push the stage".to_owned(),
                    reason: "another stage of the same key is there; remove it to go on".to_owned(),
                }),
            };
        }
        for file in manifest.files.keys() {
            self.put(&stage.file(file), &joined(&folder, file)).await?;
        }
        for file in [TIMINGS, COSTS].into_iter().filter(|file| stage.file(file).exists()) {
            self.put(&stage.file(file), &joined(&folder, file)).await?;
        }
        self.put(&stage.file(MANIFEST), &folder.join(MANIFEST)).await
    }

    /// Gets a stage into a store's folder, every file checked against its digest; `None` where it is not there.
    pub fn pull(&self, store: &Store, stage: &str, key: Digest) -> Result<Option<StageFolder>, StoreError> {
        self.block_on(self.pull_files(store, stage, key))
    }

    async fn pull_files(&self, store: &Store, stage: &str, key: Digest) -> Result<Option<StageFolder>, StoreError> {
        let folder = self.folder(store, stage, key);
        let Some(bytes) = self.get(&folder.clone().join(MANIFEST)).await? else { return Ok(None) };
        let _lock = store.lock(stage, key)?;
        if let Some(found) = store.find(stage, key)? {
            return Ok(Some(found));
        }
        let target = store.stage_path(stage, key);
        let name = target.file_name().expect("a stage's folder has a name").to_string_lossy().into_owned();
        // Not the partial folder: that is a stage's that was begun here, and holds its journal.
        let work = store.folder().join(format!(".pulling-{name}"));
        if work.exists() {
            fs::remove_dir_all(&work).map_err(StoreError::io(&work, "remove what an earlier pull left"))?;
        }
        fs::create_dir_all(&work).map_err(StoreError::io(&work, "make the folder"))?;
        durable::write(&work.join(MANIFEST), &bytes)?;
        let manifest = Manifest::read(&work)?;
        for file in manifest.files.keys() {
            let path = work.join(file);
            let parent = path.parent().expect("a file of the stage lies in its folder");
            fs::create_dir_all(parent).map_err(StoreError::io(parent, "make the folder"))?;
            if !self.fetch(&joined(&folder, file), &path).await? {
                return Err(StoreError::Remote {
                    url: self.address(&joined(&folder, file)),
                    action: "pull the file".to_owned(),
                    reason: "the stage's manifest lists it, and it is not there".to_owned(),
                });
            }
        }
        for file in [TIMINGS, COSTS] {
            self.fetch(&joined(&folder, file), &work.join(file)).await?;
        }
        manifest.check(&work, true)?;
        durable::sync_folder(&work)?;
        fs::rename(&work, &target).map_err(StoreError::io(&target, "name the pulled folder"))?;
        durable::sync_folder(store.folder())?;
        store.find(stage, key)
    }

    #[cfg_attr(not(feature = "s3"), expect(clippy::unused_self, reason = "only a network needs the runtime"))]
    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        #[cfg(feature = "s3")]
        return self.runtime.block_on(work);
        #[cfg(not(feature = "s3"))]
        futures::executor::block_on(work)
    }

    fn folder(&self, store: &Store, stage: &str, key: Digest) -> Key {
        let recipe = store.folder().file_name().unwrap_or_default().to_string_lossy();
        self.root.clone().join(recipe.as_ref()).join(format!("{stage}-{}", key.short()))
    }

    /// Where a key is, for people: it begins with the place's own folder, which stands in the place's URL.
    fn address(&self, key: &Key) -> String {
        let inner = key.as_ref().strip_prefix(self.root.as_ref()).unwrap_or(key.as_ref());
        format!("{}/{}", self.url.trim_end_matches('/'), inner.trim_start_matches('/'))
    }

    fn error(&self, key: &Key, action: &str) -> impl FnOnce(object_store::Error) -> StoreError {
        let (url, action) = (self.address(key), action.to_owned());
        move |error| StoreError::Remote { url, action, reason: error.to_string() }
    }

    async fn get(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        match self.objects.get(key).await {
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.error(key, "get the object")(error)),
            Ok(found) => Ok(Some(found.bytes().await.map_err(self.error(key, "read the object"))?.to_vec())),
        }
    }

    /// Writes an object to a file, piece by piece; says whether there was one.
    async fn fetch(&self, key: &Key, path: &Path) -> Result<bool, StoreError> {
        use futures::StreamExt;
        let mut pieces = match self.objects.get(key).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(self.error(key, "get the object")(error)),
            Ok(found) => found.into_stream(),
        };
        let mut file = File::create(path).map_err(StoreError::io(path, "create the file"))?;
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(self.error(key, "read the object"))?;
            file.write_all(&piece).map_err(StoreError::io(path, "write the file"))?;
        }
        file.sync_all().map_err(StoreError::io(path, "flush the file"))?;
        Ok(true)
    }

    /// Puts a file, a large one in parts: a model's weights need not fit in memory.
    async fn put(&self, path: &Path, key: &Key) -> Result<(), StoreError> {
        let fault = |action| self.error(key, action);
        let mut file = File::open(path).map_err(StoreError::io(path, "open the file"))?;
        let first = part(&mut file, path)?;
        if first.len() < PART {
            return self.objects.put(key, PutPayload::from(first)).await.map(drop).map_err(fault("put the object"));
        }
        let mut upload = self.objects.put_multipart(key).await.map_err(fault("begin the upload"))?;
        let mut next = first;
        while !next.is_empty() {
            upload.put_part(PutPayload::from(next)).await.map_err(fault("put a part of the object"))?;
            next = part(&mut file, path)?;
        }
        upload.complete().await.map(drop).map_err(fault("complete the upload"))
    }
}

/// The next part of a file; shorter than [`PART`] only at its end.
fn part(file: &mut File, path: &Path) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    file.take(PART as u64).read_to_end(&mut bytes).map_err(StoreError::io(path, "read the file"))?;
    Ok(bytes)
}

fn joined(folder: &Key, file: &str) -> Key {
    file.split('/').fold(folder.clone(), Key::join)
}
