//! A connection of the control socket: lines of text, and descriptors that come with them.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use rustix::process::geteuid;
use serde_json::Value;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::net::unix::UCred;

/// Longest line in bytes.
const LONGEST: usize = 1 << 20;
/// Most descriptors in one message; the kernel allows 253.
const AT_ONCE: usize = 128;
/// Bytes that are read at once.
const PIECE: usize = 4 << 10;

/// A connection of the control socket.
#[derive(Debug)]
pub(super) struct Channel {
    stream: UnixStream,
    unread: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Channel {
    pub(super) fn new(stream: UnixStream) -> Channel {
        Channel { stream, unread: Vec::new(), descriptors: Vec::new() }
    }

    pub(super) async fn connect(path: &Path) -> io::Result<Channel> {
        Ok(Channel::new(UnixStream::connect(path).await?))
    }

    /// The process at the other end.
    pub(super) fn peer(&self) -> io::Result<UCred> {
        self.stream.peer_cred()
    }

    /// Whether that process belongs to the user of this one.
    pub(super) fn is_of_this_user(&self) -> bool {
        self.peer().is_ok_and(|peer| peer.uid() == geteuid().as_raw())
    }

    /// Reads a line, without its end. `None`: the other end has closed the connection.
    pub(super) async fn line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                let text = String::from_utf8(line).map_err(|_| io::ErrorKind::InvalidData)?;
                return Ok(Some(text.trim().to_owned()));
            }
            if self.unread.len() > LONGEST {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the line is too long"));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// The descriptors that have come with the lines read.
    pub(super) fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.descriptors)
    }

    /// Sends a line of JSON.
    pub(super) async fn answer(&self, answer: &Value) -> io::Result<()> {
        self.send(&answer.to_string()).await
    }

    /// Sends a line.
    pub(super) async fn send(&self, line: &str) -> io::Result<()> {
        self.write(format!("{line}\n").as_bytes(), &[]).await
    }

    /// Sends a line that comes with descriptors.
    pub(super) async fn send_with(&self, line: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        for some in descriptors.chunks(AT_ONCE) {
            // Descriptors come with at least one byte. White space before a line means nothing.
            self.write(b" ", some).await?;
        }
        self.send(line).await
    }

    async fn write(&self, mut bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut descriptors = Some(descriptors).filter(|some| !some.is_empty());
        while !bytes.is_empty() {
            let sent = self.stream.async_io(Interest::WRITABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                if let Some(some) = descriptors {
                    control.push(SendAncillaryMessage::ScmRights(some));
                }
                Ok(sendmsg(&self.stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
            });
            bytes = bytes.get(sent.await?..).unwrap_or_default();
            descriptors = None;
        }
        Ok(())
    }

    /// Reads what there is. `false`: the other end has closed the connection.
    async fn fill(&mut self) -> io::Result<bool> {
        let mut bytes = [0; PIECE];
        let (count, descriptors) =
            self.stream.async_io(Interest::READABLE, || receive(self.stream.as_fd(), &mut bytes)).await?;
        self.unread.extend_from_slice(bytes.get(..count).unwrap_or_default());
        self.descriptors.extend(descriptors);
        Ok(count > 0)
    }
}

fn receive(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let messages = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptors = messages.flatten().collect();
    if received.flags.contains(ReturnFlags::CTRUNC) {
        let what = "some descriptors were lost; is the limit of open files (ulimit -n) too low?";
        return Err(io::Error::other(what));
    }
    Ok((received.bytes, descriptors))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[tokio::test]
    async fn lines_and_more_descriptors_than_one_message_holds_arrive_in_order() {
        let (here, there) = UnixStream::pair().unwrap();
        let (here, mut there) = (Channel::new(here), Channel::new(there));
        let files: Vec<_> = (0_u64..300)
            .map(|length| {
                let file = tempfile::tempfile().unwrap();
                file.set_len(length).unwrap();
                file
            })
            .collect();
        let borrowed: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        let long = "x".repeat(20_000);
        let sending = async {
            here.send("first").await.unwrap();
            here.send_with(&long, &borrowed).await.unwrap();
            here.send("last").await.unwrap();
        };
        let receiving = async {
            assert_eq!(there.line().await.unwrap().unwrap(), "first");
            assert_eq!(there.line().await.unwrap().unwrap(), long);
            let received = there.take_descriptors();
            assert!(received.iter().all(|one| one.as_raw_fd() > 2));
            let lengths = received.into_iter().map(|one| std::fs::File::from(one).metadata().unwrap().len());
            assert!(lengths.eq(0..300));
            assert_eq!(there.line().await.unwrap().unwrap(), "last");
        };
        tokio::join!(sending, receiving);
        drop(here);
        assert_eq!(there.line().await.unwrap(), None);
    }
}
