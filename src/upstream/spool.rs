//! Buffers request bodies whose endpoint needs their length first (`request_body = "buffer"`).
//!
//! The first MiB of a body stays in memory. A longer body goes into a file without a name, which no other process can
//! open; the file vanishes when it is closed, however the process ends. A limit applies to all bodies of the process
//! together. The runtime's blocking threads access the files, never the worker itself.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};

use super::{BodyFault, OutgoingBody};
use crate::config::settings;
use crate::telemetry::{Outage, ProcessCounters};

/// How much of a body is kept in memory, in bytes. A body in a file takes more than this of the spool, so the spool's
/// limit bounds the number of files as well.
pub const IN_MEMORY: usize = 1 << 20;

/// How much of a file is read at once, and thus the most that is in memory, in bytes.
const PIECE: u64 = 64 << 10;

/// The space for buffered request bodies, shared by all workers.
#[derive(Clone)]
pub struct Spool(Arc<Shared>);

struct Shared {
    folder: PathBuf,
    most: u64,
    /// Counts the space in use.
    counts: Arc<ProcessCounters>,
    /// Logs each outage of the spool folder once.
    outage: Outage,
}

/// A request body that is being buffered.
pub struct Gathering {
    space: SpoolSpace,
    /// The part of the body that is not in the file.
    buffer: Vec<u8>,
    length: u64,
}

/// What one body uses of the spool: space, and a file if the body is long. Dropping it releases both.
struct SpoolSpace {
    spool: Spool,
    taken: u64,
    file: Option<File>,
}

/// A short body; its space is released with the last of its bytes.
struct InMemory {
    bytes: Vec<u8>,
    _space: SpoolSpace,
}

/// A long body that is being sent.
pub(super) struct Spooled {
    /// How many bytes the connection has not taken yet.
    left: u64,
    reading: Option<Reading>,
}

enum Reading {
    Next(SpoolSpace),
    UnderWay(JoinHandle<Result<(SpoolSpace, Bytes), BodyFault>>),
}

impl Spool {
    /// An empty spool. `counts` shows the space in use.
    pub fn new(settings: &settings::Spool, counts: Arc<ProcessCounters>) -> Spool {
        let (folder, most) = (settings.folder.clone(), settings.max_size);
        Spool(Arc::new(Shared { folder, most, counts, outage: Outage::default() }))
    }

    /// Tests that files can be created in the spool folder. Blocks.
    ///
    /// # Errors
    /// The system's error.
    pub fn probe(&self) -> io::Result<()> {
        tempfile::tempfile_in(&self.0.folder).map(drop)
    }

    /// Begins a body of `expected` bytes, or of unknown length (0).
    ///
    /// # Errors
    /// [`BodyFault::NoRoom`] if the body would not fit now. Space is taken only as bytes arrive: a large
    /// `Content-Length` alone blocks no other body.
    pub fn begin(&self, expected: u64) -> Result<Gathering, BodyFault> {
        if self.0.counts.spooled.get().saturating_add(expected) > self.0.most {
            return Err(BodyFault::NoRoom);
        }
        let space = SpoolSpace { spool: self.clone(), taken: 0, file: None };
        Ok(Gathering { space, buffer: Vec::new(), length: 0 })
    }

    /// Converts the result of a file operation. Logs the begin and the end of each outage.
    fn judge<T>(&self, done: io::Result<T>) -> Result<T, BodyFault> {
        let folder = self.0.folder.display();
        match done {
            Ok(done) => {
                if let Some(ended) = self.0.outage.succeeded() {
                    let (failures, lasted_ms) = (ended.failures, ended.lasted_ms());
                    tracing::info!(
                        code = "spool_failed", %folder, failures, lasted_ms, "request bodies can be spooled again"
                    );
                }
                Ok(done)
            }
            Err(error) => {
                if self.0.outage.failed() {
                    let mend = "free some space, or set spool.folder to another folder";
                    tracing::error!(code = "spool_failed", %folder, %error, mend, "request bodies cannot be spooled");
                }
                Err(BodyFault::NotKept)
            }
        }
    }
}

impl Gathering {
    /// Adds a piece.
    ///
    /// # Errors
    /// [`BodyFault::NoRoom`] or [`BodyFault::NotKept`]; the body is given up.
    pub async fn push(mut self, piece: &[u8]) -> Result<Gathering, BodyFault> {
        let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        self.space.take(length)?;
        if self.buffer.len().saturating_add(piece.len()) > IN_MEMORY {
            self = self.off_the_worker(Gathering::spill).await?;
        }
        self.buffer.extend_from_slice(piece);
        self.length = self.length.saturating_add(length);
        Ok(self)
    }

    /// Ends the body, and returns it for sending.
    ///
    /// # Errors
    /// [`BodyFault::NotKept`].
    pub async fn finish(mut self) -> Result<OutgoingBody, BodyFault> {
        if self.space.file.is_none() {
            let whole = InMemory { bytes: self.buffer, _space: self.space };
            return Ok(OutgoingBody::full(Bytes::from_owner(whole)));
        }
        self = self.off_the_worker(|this| this.spill().and_then(|()| this.rewind())).await?;
        Ok(OutgoingBody::spooled(Spooled { left: self.length, reading: Some(Reading::Next(self.space)) }))
    }

    /// Moves the bytes in memory to the file. Blocks.
    fn spill(&mut self) -> io::Result<()> {
        let file = match &mut self.space.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile_in(&self.space.spool.0.folder)?),
        };
        file.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.space.file.as_mut().map_or(Ok(()), File::rewind)
    }

    /// Runs blocking work in a thread. If the caller stops waiting, the body is dropped when the work is done.
    async fn off_the_worker(
        mut self,
        work: impl FnOnce(&mut Gathering) -> io::Result<()> + Send + 'static,
    ) -> Result<Gathering, BodyFault> {
        let done = spawn_blocking(move || {
            let done = work(&mut self);
            self.space.spool.judge(done)?;
            Ok(self)
        });
        // The task fails only if its runtime shuts down.
        done.await.unwrap_or(Err(BodyFault::NotKept))
    }
}

impl SpoolSpace {
    fn take(&mut self, bytes: u64) -> Result<(), BodyFault> {
        let shared = &self.spool.0;
        if !shared.counts.spooled.add_within(bytes, shared.most) {
            return Err(BodyFault::NoRoom);
        }
        self.taken = self.taken.saturating_add(bytes);
        Ok(())
    }

    /// Reads the next piece of the file. Blocks.
    fn read(mut self, length: u64) -> Result<(SpoolSpace, Bytes), BodyFault> {
        let mut piece = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        let read = match &mut self.file {
            Some(file) => file.take(length).read_to_end(&mut piece),
            None => Ok(0),
        };
        let read = read.and_then(|read| match u64::try_from(read) == Ok(length) {
            true => Ok(piece),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        });
        let piece = self.spool.judge(read)?;
        Ok((self, piece.into()))
    }
}

impl Drop for SpoolSpace {
    fn drop(&mut self) {
        let (spool, taken) = (self.spool.clone(), self.taken);
        let give_back = move || spool.0.counts.spooled.sub(taken);
        match (self.file.take(), Handle::try_current()) {
            // Closing a file frees its blocks, which takes long for a large one.
            (Some(file), Ok(runtime)) => drop(runtime.spawn_blocking(move || {
                drop(file);
                give_back();
            })),
            _ => give_back(),
        }
    }
}

impl AsRef<[u8]> for InMemory {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Spooled {
    /// How many bytes are still to come.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFault>>> {
        loop {
            match self.reading.take() {
                None => return Poll::Ready(None),
                Some(Reading::Next(space)) if self.left > 0 => {
                    let length = self.left.min(PIECE);
                    self.reading = Some(Reading::UnderWay(spawn_blocking(move || space.read(length))));
                }
                Some(Reading::Next(_)) => {}
                Some(Reading::UnderWay(mut read)) => {
                    let Poll::Ready(done) = Pin::new(&mut read).poll(cx) else {
                        self.reading = Some(Reading::UnderWay(read));
                        return Poll::Pending;
                    };
                    let (space, piece) = match done.unwrap_or(Err(BodyFault::NotKept)) {
                        Ok(read) => read,
                        Err(fault) => return Poll::Ready(Some(Err(fault))),
                    };
                    self.left = self.left.saturating_sub(u64::try_from(piece.len()).unwrap_or(u64::MAX));
                    self.reading = Some(Reading::Next(space)).filter(|_| self.left > 0);
                    return Poll::Ready(Some(Ok(piece)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body::Body;

    use super::*;

    fn spool(max_size: u64) -> Spool {
        Spool::new(&settings::Spool { max_size, ..settings::Spool::default() }, Arc::default())
    }

    fn taken(spool: &Spool) -> u64 {
        spool.0.counts.spooled.get()
    }

    #[tokio::test]
    async fn a_full_disk_gives_the_body_up_and_releases_its_space() {
        let spool = spool(1 << 30);
        let mut gathering = spool.begin(0).unwrap();
        gathering.space.file = Some(File::options().write(true).open("/dev/full").unwrap());
        gathering = gathering.push(&[b'x'; IN_MEMORY]).await.unwrap();
        assert_eq!(taken(&spool), 1 << 20);
        assert_eq!(gathering.push(b"x").await.err(), Some(BodyFault::NotKept));
        while taken(&spool) > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_back_is_our_fault() {
        let spool = spool(1 << 30);
        let mut space = SpoolSpace { spool: spool.clone(), taken: 0, file: Some(tempfile::tempfile().unwrap()) };
        space.take(10).unwrap();
        let spooled = Spooled { left: 10, reading: Some(Reading::Next(space)) };
        let mut body = OutgoingBody::spooled(spooled);
        let piece = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        assert!(matches!(piece, Some(Err(BodyFault::NotKept))));
        assert_eq!(body.state().fault(), Some(BodyFault::NotKept));
    }

    #[tokio::test]
    async fn the_limit_holds_for_all_bodies_together_to_the_byte() {
        let spool = spool(10);
        let first = spool.begin(10).unwrap().push(b"12345678").await.unwrap();
        assert_eq!(spool.begin(3).err(), Some(BodyFault::NoRoom));
        let second = spool.begin(2).unwrap().push(b"90").await.unwrap();
        assert_eq!(first.push(b"x").await.err(), Some(BodyFault::NoRoom));
        assert_eq!(taken(&spool), 2, "the space of the body that was given up is released");
        let mut body = second.finish().await.unwrap();
        assert_eq!((body.gathered(), taken(&spool)), (Some(2), 2));
        let piece = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        drop(body);
        assert_eq!(taken(&spool), 2, "its bytes are not written yet");
        drop(piece);
        assert_eq!(taken(&spool), 0);
    }
}
