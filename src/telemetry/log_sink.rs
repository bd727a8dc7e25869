//! Where the access log goes: the stream that the process was started with, a file, or the syslog of the machine.
//!
//! The thread of the [`super::LogWriter`] writes. A [`LogSink`] gives it another destination, which it uses from the
//! next batch of lines, so that no line is split.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The socket of the syslog: that of journald or rsyslog.
const SYSLOG: &str = "/dev/log";

/// Facility `local0`, severity `info` (RFC 3164 §4.1.1), and the name of the program.
const SYSLOG_HEAD: &[u8] = b"<134>tokengate: ";

/// An opened destination.
#[derive(Debug)]
pub enum Destination {
    /// The stream that the process was started with.
    Given,
    /// A file, to which lines are appended.
    File(File),
    /// A syslog, which gets one message for each line.
    Syslog {
        /// Our socket.
        socket: UnixDatagram,
        /// The path of the syslog's socket.
        path: PathBuf,
    },
}

/// Gives the writer another destination.
#[derive(Clone, Debug, Default)]
pub struct LogSink(Arc<Next>);

#[derive(Debug, Default)]
struct Next {
    /// Whether there is one: read for each batch of lines without a lock.
    is_set: AtomicBool,
    destination: Mutex<Option<Destination>>,
}

impl Destination {
    /// Opens a file; creates it with mode 0640.
    ///
    /// # Errors
    /// The system's error.
    pub fn file(path: &Path) -> io::Result<Destination> {
        OpenOptions::new().append(true).create(true).mode(0o640).open(path).map(Destination::File)
    }

    /// Opens the syslog of this machine. It need not run yet: lines are lost until it does, and they are counted.
    ///
    /// # Errors
    /// The system's error.
    pub fn syslog() -> io::Result<Destination> {
        Destination::syslog_at(Path::new(SYSLOG))
    }

    fn syslog_at(path: &Path) -> io::Result<Destination> {
        Ok(Destination::Syslog { socket: UnixDatagram::unbound()?, path: path.to_owned() })
    }
}

impl LogSink {
    /// Writes to `destination` from the next batch of lines.
    pub fn set(&self, destination: Destination) {
        *self.0.destination.lock().unwrap_or_else(PoisonError::into_inner) = Some(destination);
        self.0.is_set.store(true, Ordering::Release);
    }

    fn take(&self) -> Option<Destination> {
        if !self.0.is_set.swap(false, Ordering::Acquire) {
            return None;
        }
        self.0.destination.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Writes batches of whole lines.
pub(super) struct BatchWriter<W> {
    sink: LogSink,
    given: W,
    current: Destination,
}

impl<W: Write> BatchWriter<W> {
    pub(super) fn new(given: W, sink: LogSink) -> BatchWriter<W> {
        BatchWriter { sink, given, current: Destination::Given }
    }

    /// Writes whole lines.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if let Some(next) = self.sink.take() {
            self.current = next;
        }
        match &mut self.current {
            Destination::Given => self.given.write_all(lines).and_then(|()| self.given.flush()),
            Destination::File(file) => file.write_all(lines),
            Destination::Syslog { socket, path } => {
                for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    socket.send_to(&[SYSLOG_HEAD, line].concat(), &*path)?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_new_destination_gets_the_next_batch_and_a_file_is_appended_to() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        fs::write(&first, "before\n").unwrap();
        let (sink, mut given) = (LogSink::default(), Vec::new());
        let mut writer = BatchWriter::new(&mut given, sink.clone());
        writer.write(b"1\n").unwrap();
        sink.set(Destination::file(&first).unwrap());
        writer.write(b"2\n3\n").unwrap();
        // As logrotate does: the file is renamed, lines follow it until the path is opened again.
        fs::rename(&first, &second).unwrap();
        writer.write(b"4\n").unwrap();
        sink.set(Destination::file(&first).unwrap());
        writer.write(b"5\n").unwrap();
        sink.set(Destination::Given);
        writer.write(b"6\n").unwrap();
        assert_eq!(given, b"1\n6\n");
        assert_eq!(fs::read_to_string(&second).unwrap(), "before\n2\n3\n4\n");
        assert_eq!(fs::read_to_string(&first).unwrap(), "5\n");
        assert_eq!(fs::metadata(&first).unwrap().permissions().mode() & 0o137, 0);
    }

    #[test]
    fn a_syslog_gets_one_message_for_each_line_also_after_it_was_restarted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let sink = LogSink::default();
        sink.set(Destination::syslog_at(&path).unwrap());
        let mut writer = BatchWriter::new(io::sink(), sink);
        assert!(writer.write(b"lost\n").is_err(), "no syslog runs");
        for _ in 0..2 {
            let syslog = UnixDatagram::bind(&path).unwrap();
            writer.write(b"one\ntwo\n").unwrap();
            for text in ["<134>tokengate: one", "<134>tokengate: two"] {
                let mut received = [0; 64];
                let length = syslog.recv(&mut received).unwrap();
                assert_eq!(&received[..length], text.as_bytes());
            }
            drop(syslog);
            fs::remove_file(&path).unwrap();
        }
    }
}
