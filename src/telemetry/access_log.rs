//! The access log: one line per request; writing never makes a worker wait.
//!
//! A worker's [`AccessLog`] formats lines into its own buffer and passes full buffers to the single thread of the
//! [`LogWriter`] over a bounded channel. Empty buffers come back. If the thread cannot keep up, or the sink fails,
//! lines are dropped and counted.

use std::cell::RefCell;
use std::io::{self, Write};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use super::access_rules::{AccessLogFormat, TemplateCopy};
pub use super::log_line::Entry;
use super::log_sink::{BatchWriter, LogSink};
use super::outage::Outage;
use super::recorder::Recorder;
use super::second_text::SecondText;

/// The size at which a buffer is passed on: large enough to make that rare, small enough for a CPU cache.
const FLUSH_SIZE: usize = 32 << 10;

/// Extra room for the line that exceeds that size.
const LINE_RESERVE: usize = 4 << 10;

/// Maximum number of full buffers in the queue, for all workers together: some 2 MiB, a second's worth on a busy
/// machine.
const MAX_QUEUED: usize = 64;

/// Maximum number of empty buffers waiting for their worker.
const MAX_EMPTY_BUFFERS: usize = 4;

/// The access log of one worker.
#[derive(Debug)]
pub struct AccessLog {
    format: AccessLogFormat,
    recorder: Arc<Recorder>,
    queue: SyncSender<Batch>,
    home: Arc<BufferReturn>,
    spares: Receiver<Vec<u8>>,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    buffer: Vec<u8>,
    lines: u64,
    second: SecondText,
    template: TemplateCopy,
    /// Successful requests that have no line, since the last one that has.
    left_out: u32,
}

/// A buffer of lines for the sink.
#[derive(Debug)]
struct Batch {
    bytes: Vec<u8>,
    lines: u64,
    home: Arc<BufferReturn>,
}

/// The return channel from the thread to a worker.
#[derive(Debug)]
struct BufferReturn {
    spares: SyncSender<Vec<u8>>,
    /// Lines that the sink did not accept and the worker has not counted yet.
    lost: AtomicU64,
}

impl AccessLog {
    /// A log that is always off.
    pub fn off() -> AccessLog {
        let ((queue, _), (_, spares)) = (mpsc::sync_channel(0), mpsc::sync_channel(0));
        AccessLog::new(AccessLogFormat::default(), &Recorder::new(), queue, spares, mpsc::sync_channel(0).0)
    }

    fn new(
        format: AccessLogFormat,
        recorder: &Arc<Recorder>,
        queue: SyncSender<Batch>,
        spares: Receiver<Vec<u8>>,
        to_worker: SyncSender<Vec<u8>>,
    ) -> AccessLog {
        AccessLog {
            format,
            recorder: Arc::clone(recorder),
            queue,
            home: Arc::new(BufferReturn { spares: to_worker, lost: AtomicU64::new(0) }),
            spares,
            state: RefCell::new(State {
                buffer: Vec::new(),
                lines: 0,
                second: SecondText::new(),
                template: TemplateCopy::default(),
                left_out: 0,
            }),
        }
    }

    /// Whether lines are written.
    pub fn is_on(&self) -> bool {
        self.format.get().is_some()
    }

    /// Adds a line, unless the log is off.
    pub fn write(&self, entry: &Entry<'_>) {
        let Some(rules) = self.format.get() else { return };
        let mut state = self.state.borrow_mut();
        let State { buffer, lines, second, template, left_out } = &mut *state;
        if rules.sample > 1 && entry.is_success() {
            *left_out += 1;
            if *left_out < rules.sample {
                return;
            }
            *left_out = 0;
        }
        entry.write(buffer, self.format.style(rules, template), rules.redact, second);
        *lines += 1;
        if buffer.len() >= FLUSH_SIZE {
            self.hand_over(&mut state);
        }
    }

    /// Passes the buffer on, however full. Called at each tick of a worker, so that lines do not wait for others;
    /// dropping the log does it too.
    pub fn flush(&self) {
        let mut state = self.state.borrow_mut();
        if state.lines > 0 {
            self.hand_over(&mut state);
        }
        self.recorder.log_lines_dropped(self.home.lost.swap(0, Ordering::Relaxed));
    }

    fn hand_over(&self, state: &mut State) {
        let lines = mem::take(&mut state.lines);
        let batch = Batch { bytes: mem::take(&mut state.buffer), lines, home: Arc::clone(&self.home) };
        state.buffer = match self.queue.try_send(batch) {
            Ok(()) => self.spares.try_recv().unwrap_or_else(|_| Vec::with_capacity(FLUSH_SIZE + LINE_RESERVE)),
            Err(TrySendError::Full(mut refused) | TrySendError::Disconnected(mut refused)) => {
                self.recorder.log_lines_dropped(lines);
                refused.bytes.clear();
                refused.bytes
            }
        };
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.flush();
    }
}

/// The thread that writes the lines of all workers.
#[derive(Debug)]
pub struct LogWriter {
    queue: SyncSender<Batch>,
    format: AccessLogFormat,
    /// Never carries a message: it disconnects when the thread has ended.
    ended: Receiver<()>,
}

impl LogWriter {
    /// Starts the thread, writing to `sink`. `format` is the format of all workers.
    ///
    /// # Errors
    /// If the system cannot start a thread.
    pub fn start(given: impl Write + Send + 'static, sink: LogSink, format: AccessLogFormat) -> io::Result<LogWriter> {
        let (queue, batches) = mpsc::sync_channel(MAX_QUEUED);
        let (end, ended) = mpsc::sync_channel(0);
        thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            write_batches(&mut BatchWriter::new(given, sink), &batches);
            drop(end);
        })?;
        Ok(LogWriter { queue, format, ended })
    }

    /// Creates the log of one worker, which counts dropped lines in `recorder`.
    pub fn worker(&self, recorder: &Arc<Recorder>) -> AccessLog {
        let (to_worker, spares) = mpsc::sync_channel(MAX_EMPTY_BUFFERS);
        AccessLog::new(self.format.clone(), recorder, SyncSender::clone(&self.queue), spares, to_worker)
    }

    /// Waits until every line has been written, at most for `within`. Call it after all workers' logs are dropped.
    ///
    /// `false`: timeout, because the sink accepts nothing or a worker still has its log.
    pub fn stop(self, within: Duration) -> bool {
        let LogWriter { queue, ended, .. } = self;
        drop(queue);
        ended.recv_timeout(within) == Err(RecvTimeoutError::Disconnected)
    }
}

/// Runs until the last sender is dropped.
fn write_batches(writer: &mut BatchWriter<impl Write>, batches: &Receiver<Batch>) {
    let outage = Outage::default();
    for Batch { mut bytes, lines, home } in batches {
        match writer.write(&bytes) {
            Ok(()) => {
                if let Some(ended) = outage.succeeded() {
                    let (failures, lasted_ms) = (ended.failures, ended.lasted_ms());
                    tracing::info!(
                        code = "access_log_failed",
                        failures,
                        lasted_ms,
                        "the access log can be written again"
                    );
                }
            }
            Err(error) => {
                home.lost.fetch_add(lines, Ordering::Relaxed);
                if outage.failed() {
                    let lost = "lines are lost until it can be written again";
                    tracing::error!(code = "access_log_failed", %error, lost, "the access log cannot be written");
                }
            }
        }
        bytes.clear();
        // Fails if the worker has enough spare buffers or has ended, which is fine.
        let _ = home.spares.try_send(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::access_rules::{AccessRules, LogFormat};
    use super::super::log_line::tests::entry;
    use super::super::metrics::Outcome;
    use super::super::shared_rules::Redact;
    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    /// A sink that a test reads. With `leave`, it waits for a message before each write.
    #[derive(Clone, Default)]
    struct Sink {
        written: Arc<Mutex<Vec<u8>>>,
        leave: Option<Arc<Mutex<Receiver<()>>>>,
        broken: bool,
    }

    impl Sink {
        fn lines(&self) -> usize {
            self.written.lock().unwrap().iter().filter(|&&byte| byte == b'\n').count()
        }
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(leave) = &self.leave {
                // An error: the sender was dropped, so all writes may proceed.
                let _ = leave.lock().unwrap().recv();
            }
            if self.broken { Err(io::ErrorKind::BrokenPipe.into()) } else { self.written.lock().unwrap().write(bytes) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn text() -> AccessLogFormat {
        let format = AccessLogFormat::default();
        format.set(rules(LogFormat::Text));
        format
    }

    fn rules(format: LogFormat) -> Option<AccessRules> {
        Some(AccessRules { format, sample: 1, redact: Redact::default() })
    }

    fn start(sink: Sink, format: AccessLogFormat) -> LogWriter {
        LogWriter::start(sink, LogSink::default(), format).unwrap()
    }

    #[test]
    fn a_stop_writes_every_line_of_every_worker_whole() {
        let sink = Sink::default();
        let format = text();
        let writer = start(sink.clone(), format.clone());
        let recorder = Recorder::new();
        let logs = [writer.worker(&recorder), writer.worker(&recorder)];
        for next in [rules(LogFormat::Json), None, rules(LogFormat::Text)] {
            (0..500).for_each(|_| logs.iter().for_each(|log| log.write(&entry())));
            format.set(next);
        }
        drop(logs);
        assert!(writer.stop(SOON));
        assert_eq!((sink.lines(), recorder.dropped_log_lines()), (2_000, 0));
        let written = String::from_utf8(sink.written.lock().unwrap().clone()).unwrap();
        let json = written.lines().filter(|line| line.starts_with('{') && line.ends_with('}')).count();
        let text = written.lines().filter(|line| line.starts_with("time=")).count();
        assert_eq!((text, json), (1_000, 1_000), "no line while the log is off");
    }

    #[test]
    fn a_template_can_be_replaced_by_another_one() {
        let (sink, format) = (Sink::default(), AccessLogFormat::default());
        let writer = start(sink.clone(), format.clone());
        let log = writer.worker(&Recorder::new());
        let template = |text| LogFormat::Template(super::super::LogTemplate::parse(text).unwrap());
        for next in [template("one {status}"), template("two {status}"), template("{method} three"), LogFormat::Ecs] {
            format.set(rules(next));
            (0..2).for_each(|_| log.write(&entry()));
        }
        drop(log);
        assert!(writer.stop(SOON));
        let written = String::from_utf8(sink.written.lock().unwrap().clone()).unwrap();
        assert!(written.starts_with("one 200\none 200\ntwo 200\ntwo 200\nGET three\nGET three\n{"), "{written}");
    }

    #[test]
    fn of_the_sample_one_success_has_a_line_and_every_other_request_has_one() {
        let (sink, format) = (Sink::default(), AccessLogFormat::default());
        format.set(rules(LogFormat::Text).map(|rules| AccessRules { sample: 10, ..rules }));
        let writer = start(sink.clone(), format);
        let log = writer.worker(&Recorder::new());
        for _ in 0..95 {
            log.write(&entry());
        }
        let others = [
            (Outcome::Forwarded, Some(404)),
            (Outcome::Forwarded, None),
            (Outcome::OriginReset, Some(200)),
            (Outcome::ClientGone, Some(200)),
        ];
        others.iter().for_each(|&(outcome, status)| log.write(&Entry { outcome, status, ..entry() }));
        drop(log);
        assert!(writer.stop(SOON));
        assert_eq!(sink.lines(), 9 + others.len());
    }

    #[test]
    fn a_flush_hands_over_a_single_line() {
        let (leave, waits) = mpsc::channel();
        let sink = Sink { leave: Some(Arc::new(Mutex::new(waits))), ..Sink::default() };
        let writer = start(sink.clone(), text());
        let log = writer.worker(&Recorder::new());
        log.write(&entry());
        log.flush();
        log.flush();
        leave.send(()).unwrap();
        // The buffer comes back once its line has been written.
        assert!(log.spares.recv_timeout(SOON).unwrap().is_empty());
        assert_eq!(sink.lines(), 1);
    }

    #[test]
    fn a_blocked_sink_loses_lines_and_delays_no_worker() {
        let (leave, waits) = mpsc::channel();
        let sink = Sink { leave: Some(Arc::new(Mutex::new(waits))), ..Sink::default() };
        let writer = start(sink.clone(), text());
        let recorder = Recorder::new();
        let log = writer.worker(&recorder);
        let sent = 200;
        for _ in 0..sent {
            log.write(&entry());
            log.flush();
        }
        let dropped = recorder.dropped_log_lines();
        assert!(dropped >= 135, "at most 64 wait and one is being written: {dropped}");
        drop((leave, log));
        assert!(writer.stop(SOON));
        assert_eq!(u64::try_from(sink.lines()).unwrap() + dropped, sent);
    }

    #[test]
    fn lines_that_the_sink_refuses_are_counted() {
        let writer = start(Sink { broken: true, ..Sink::default() }, text());
        let recorder = Recorder::new();
        let log = writer.worker(&recorder);
        log.write(&entry());
        log.flush();
        // A buffer comes back once its line has been tried; the flush may have met it on its way out already.
        for _ in 0..100 {
            log.flush();
            if recorder.dropped_log_lines() == 1 {
                return;
            }
            let _ = log.spares.recv_timeout(SOON / 100);
        }
        panic!("the lost line was not counted");
    }

    #[test]
    fn a_stop_does_not_wait_for_a_stuck_sink() {
        let (leave, waits) = mpsc::channel();
        let writer = start(Sink { leave: Some(Arc::new(Mutex::new(waits))), ..Sink::default() }, text());
        let log = writer.worker(&Recorder::new());
        log.write(&entry());
        drop(log);
        assert!(!writer.stop(Duration::from_millis(1)));
        drop(leave);
    }
}
