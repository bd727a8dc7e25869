//! Where request bodies wait whose endpoint wants to know their length first.
//!
//! The first MiB of a body waits in memory; what is longer goes into a file without a name, which nobody else can open
//! and which is gone with its last use, however the process ends. All bodies of the process together have a limit.
//! Files are touched by the blocking threads of a worker's runtime, never by the worker itself.

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
use crate::telemetry::{Knowledge, Outage};

/// How much of a body waits in memory. A body that has a file takes more than this of the spool, so that the limit of
/// the spool bounds the number of files as well.
pub const IN_MEMORY: usize = 1 << 20;

/// How much of a file is read at once, and so how much of it is in memory at most.
const PIECE: u64 = 64 << 10;

/// The room for request bodies that wait; shared by all workers.
#[derive(Clone)]
pub struct Spool(Arc<Shared>);

struct Shared {
    folder: PathBuf,
    most: u64,
    /// Counts what is taken.
    counts: Arc<Knowledge>,
    /// The last use of a file went wrong, and the log has been told.
    outage: Outage,
}

/// A request body that is being gathered.
pub struct Gathering {
    place: Place,
    /// What is not in the file.
    buffer: Vec<u8>,
    length: u64,
}

/// What one body takes of the spool: room, and a file if it is long. Dropping it gives both back.
struct Place {
    spool: Spool,
    taken: u64,
    file: Option<File>,
}

/// A short body; its place is given back with the last of its bytes.
struct InMemory {
    bytes: Vec<u8>,
    _place: Place,
}

/// A long body on its way out.
pub(super) struct Spooled {
    /// What the connection has not got yet.
    left: u64,
    reading: Option<Reading>,
}

enum Reading {
    Next(Place),
    UnderWay(JoinHandle<Result<(Place, Bytes), BodyFault>>),
}

impl Spool {
    /// An empty one. `counts` shows how much of it is taken.
    pub fn new(settings: &settings::Spool, counts: Arc<Knowledge>) -> Spool {
        let (folder, most) = (settings.folder.clone(), settings.max_size);
        Spool(Arc::new(Shared { folder, most, counts, outage: Outage::default() }))
    }

    /// Can files be made in its folder? Blocks.
    ///
    /// # Errors
    /// What the system says.
    pub fn probe(&self) -> io::Result<()> {
        tempfile::tempfile_in(&self.0.folder).map(drop)
    }

    /// Begins a body that is `expected` bytes long, or of a length that nobody knows (0).
    ///
    /// # Errors
    /// [`BodyFault::NoRoom`] if it would not fit in now. Room is taken as bytes come: a promise to send them keeps
    /// nobody else out.
    pub fn begin(&self, expected: u64) -> Result<Gathering, BodyFault> {
        if self.0.counts.spooled.get().saturating_add(expected) > self.0.most {
            return Err(BodyFault::NoRoom);
        }
        let place = Place { spool: self.clone(), taken: 0, file: None };
        Ok(Gathering { place, buffer: Vec::new(), length: 0 })
    }

    /// What became of a file, with the log told once of each outage.
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
                    let mend = "free some space, or name another folder as spool.folder";
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
        self.place.take(length)?;
        if self.buffer.len().saturating_add(piece.len()) > IN_MEMORY {
            self = self.off_the_worker(Gathering::spill).await?;
        }
        self.buffer.extend_from_slice(piece);
        self.length = self.length.saturating_add(length);
        Ok(self)
    }

    /// All of it has come.
    ///
    /// # Errors
    /// [`BodyFault::NotKept`].
    pub async fn finish(mut self) -> Result<OutgoingBody, BodyFault> {
        if self.place.file.is_none() {
            let whole = InMemory { bytes: self.buffer, _place: self.place };
            return Ok(OutgoingBody::full(Bytes::from_owner(whole)));
        }
        self = self.off_the_worker(|this| this.spill().and_then(|()| this.rewind())).await?;
        Ok(OutgoingBody::spooled(Spooled { left: self.length, reading: Some(Reading::Next(self.place)) }))
    }

    /// Moves what waits in memory into the file. Blocks.
    fn spill(&mut self) -> io::Result<()> {
        let file = match &mut self.place.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile_in(&self.place.spool.0.folder)?),
        };
        file.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.place.file.as_mut().map_or(Ok(()), File::rewind)
    }

    /// Does what blocks. Whoever stops waiting for it gives the body up once it is done.
    async fn off_the_worker(
        mut self,
        work: impl FnOnce(&mut Gathering) -> io::Result<()> + Send + 'static,
    ) -> Result<Gathering, BodyFault> {
        let done = spawn_blocking(move || {
            let done = work(&mut self);
            self.place.spool.judge(done)?;
            Ok(self)
        });
        // It ends without a result only with its runtime.
        done.await.unwrap_or(Err(BodyFault::NotKept))
    }
}

impl Place {
    fn take(&mut self, bytes: u64) -> Result<(), BodyFault> {
        let shared = &self.spool.0;
        if !shared.counts.spooled.add_within(bytes, shared.most) {
            return Err(BodyFault::NoRoom);
        }
        self.taken = self.taken.saturating_add(bytes);
        Ok(())
    }

    /// The next piece of the file. Blocks.
    fn read(mut self, length: u64) -> Result<(Place, Bytes), BodyFault> {
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

impl Drop for Place {
    fn drop(&mut self) {
        let (spool, taken) = (self.spool.clone(), self.taken);
        let give_back = move || spool.0.counts.spooled.sub(taken);
        match (self.file.take(), Handle::try_current()) {
            // Closing it frees its blocks, which takes a while if there are many.
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
    /// What is still to come, in bytes.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFault>>> {
        loop {
            match self.reading.take() {
                None => return Poll::Ready(None),
                Some(Reading::Next(place)) if self.left > 0 => {
                    let length = self.left.min(PIECE);
                    self.reading = Some(Reading::UnderWay(spawn_blocking(move || place.read(length))));
                }
                Some(Reading::Next(_)) => {}
                Some(Reading::UnderWay(mut read)) => {
                    let Poll::Ready(done) = Pin::new(&mut read).poll(cx) else {
                        self.reading = Some(Reading::UnderWay(read));
                        return Poll::Pending;
                    };
                    let (place, piece) = match done.unwrap_or(Err(BodyFault::NotKept)) {
                        Ok(read) => read,
                        Err(fault) => return Poll::Ready(Some(Err(fault))),
                    };
                    self.left = self.left.saturating_sub(u64::try_from(piece.len()).unwrap_or(u64::MAX));
                    self.reading = Some(Reading::Next(place)).filter(|_| self.left > 0);
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
    async fn a_full_disk_gives_the_body_up_and_its_room_back() {
        let spool = spool(1 << 30);
        let mut gathering = spool.begin(0).unwrap();
        gathering.place.file = Some(File::options().write(true).open("/dev/full").unwrap());
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
        let mut place = Place { spool: spool.clone(), taken: 0, file: Some(tempfile::tempfile().unwrap()) };
        place.take(10).unwrap();
        let spooled = Spooled { left: 10, reading: Some(Reading::Next(place)) };
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
        assert_eq!(taken(&spool), 2, "what was given up is given back");
        let mut body = second.finish().await.unwrap();
        assert_eq!((body.gathered(), taken(&spool)), (Some(2), 2));
        let piece = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        drop(body);
        assert_eq!(taken(&spool), 2, "its bytes still wait to be written");
        drop(piece);
        assert_eq!(taken(&spool), 0);
    }
}
