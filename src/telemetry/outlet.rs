//! Where the log's lines go: into a buffer, which a thread of its own empties into standard output.
//!
//! Whoever reads our output may be slow or stopped, as a log driver or a collector that hangs. A write then blocks, and
//! with it would block every request of the worker that wrote. So nobody waits for the output: what finds no room in the
//! buffer is counted, and told once there is room again. It also costs less: a busy proxy writes many lines at once.

use std::io::{self, Write};
use std::mem;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::lock::lock;

/// Of lines that wait, in bytes: some 5,000 of requests.
const ROOM: usize = 1 << 20;
/// Of that, what stays reserved when it is empty again.
const KEPT: usize = 64 << 10;
/// Between two writes. The first line after a silence does not wait.
const PAUSE: Duration = Duration::from_millis(20);
/// For the last lines: an output that takes nothing for so long must not keep us from ending.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// That of the process.
pub(super) static OUTLET: Outlet = Outlet::new();

/// Lines on their way.
#[derive(Debug)]
pub(super) struct Outlet {
    /// Held for as long as it takes to copy a line.
    lines: Mutex<Lines>,
    /// There is something to write.
    filled: Condvar,
    /// All of it is written.
    emptied: Condvar,
}

#[derive(Debug)]
struct Lines {
    text: Vec<u8>,
    /// Lines that found no room.
    lost: u64,
    /// Lines have been taken out, and are not written yet.
    busy: bool,
    /// Of those, bytes that nobody has taken yet.
    left: usize,
    /// Bytes that were taken from us since the beginning.
    written: u64,
}

impl Outlet {
    const fn new() -> Self {
        let lines = Lines { text: Vec::new(), lost: 0, busy: false, left: 0, written: 0 };
        Self { lines: Mutex::new(lines), filled: Condvar::new(), emptied: Condvar::new() }
    }

    /// Begins to write. `lament` says in a line that so many were lost.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn open(
        &'static self,
        output: impl Write + Send + 'static,
        lament: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<()> {
        thread::Builder::new().name("log".to_owned()).spawn(move || self.carry(output, lament)).map(drop)
    }

    fn carry(&self, mut output: impl Write, lament: impl Fn(u64) -> String) {
        let mut text = Vec::new();
        // The last line is not whole.
        let mut torn = false;
        loop {
            let lost = {
                let lines = lock(&self.lines);
                let is_empty = |lines: &mut Lines| lines.text.is_empty();
                let mut lines = self.filled.wait_while(lines, is_empty).unwrap_or_else(PoisonError::into_inner);
                lines.busy = true;
                mem::swap(&mut lines.text, &mut text);
                mem::take(&mut lines.lost)
            };
            // In bytes: what is put before the lines.
            let mut ours = 0;
            // Not through the log, whose filter and room it must not need.
            if lost > 0 {
                let words = lament(lost).into_bytes();
                ours = words.len();
                text.splice(0..0, words);
            }
            if torn {
                ours += 1;
                text.insert(0, b'\n');
            }
            lock(&self.lines).left = text.len();
            let written = self.write_out(&mut output, &text);
            // Where nobody reads any more, nobody misses anything, either.
            let left = text[written.max(ours)..].iter().filter(|byte| **byte == b'\n').count();
            let untold = if written < ours { lost } else { 0 };
            torn = if written > 0 { text[written - 1] != b'\n' } else { torn };
            text.clear();
            text.shrink_to(KEPT);
            let mut lines = lock(&self.lines);
            (lines.busy, lines.left, lines.lost) = (false, 0, lines.lost + left as u64 + untold);
            drop(lines);
            self.emptied.notify_all();
            thread::sleep(PAUSE);
        }
    }

    /// As much as is taken before something goes wrong, as on a disk that is full.
    fn write_out(&self, output: &mut impl Write, text: &[u8]) -> usize {
        let mut written = 0;
        while written < text.len() {
            match output.write(&text[written..]) {
                Ok(taken) if taken > 0 => {
                    written += taken;
                    let mut lines = lock(&self.lines);
                    (lines.written, lines.left) = (lines.written + taken as u64, lines.left - taken);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Somebody else has made it so that it does not wait: then we do.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(PAUSE),
                Ok(_) | Err(_) => break,
            }
        }
        // What it keeps to itself would be lost with the process.
        let _ = output.flush();
        written
    }

    /// Waits until all is written, for as long as something is taken. Returns how many bytes are left all the same, and how
    /// many lines were lost that nobody was told of.
    pub(super) fn drain(&self) -> (usize, u64) {
        let is_full = |lines: &mut Lines| lines.busy || !lines.text.is_empty();
        let mut lines = lock(&self.lines);
        loop {
            let before = lines.written;
            let (now, waited) =
                self.emptied.wait_timeout_while(lines, LAST_WORDS, is_full).unwrap_or_else(PoisonError::into_inner);
            if !waited.timed_out() || now.written == before {
                return (now.text.len() + now.left, now.lost);
            }
            lines = now;
        }
    }
}

/// The subscriber hands over each line whole.
impl Write for &'static Outlet {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut lines = lock(&self.lines);
        if lines.text.len() + line.len() > ROOM {
            lines.lost += 1;
            return Ok(line.len());
        }
        let was_empty = lines.text.is_empty();
        lines.text.extend_from_slice(line);
        drop(lines);
        if was_empty {
            self.filled.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::mpsc;

    use super::*;

    /// Takes what it is given when it is told to.
    struct Slow {
        may: mpsc::Receiver<()>,
        taken: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.may.recv().map_err(io::Error::other)?;
            self.taken.send(bytes.to_owned()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Bytes that wait, lines that were lost, and whether others are on their way.
    fn state(outlet: &Outlet) -> (usize, u64, bool) {
        let lines = lock(&outlet.lines);
        (lines.text.len(), lines.lost, lines.busy)
    }

    #[test]
    fn whoever_writes_never_waits_and_what_finds_no_room_is_counted() {
        static SLOW: Outlet = Outlet::new();
        let ((go, may), (taken, out)) = (mpsc::channel(), mpsc::channel());
        SLOW.open(Slow { may, taken }, |lost| format!("{lost} lost\n")).expect("a thread");
        let mut writer = &SLOW;
        writer.write_all(b"first\n").expect("there is room");
        // Taken out, and stuck on its way.
        while !state(&SLOW).2 {
            thread::yield_now();
        }
        let line = [b'x'; 1 << 10];
        for _ in 0..ROOM / line.len() + 3 {
            writer.write_all(&line).expect("nobody waits");
        }
        assert_eq!(state(&SLOW), (ROOM, 3, true));
        go.send(()).expect("it waits");
        assert_eq!(out.recv().expect("it is written"), b"first\n");
        go.send(()).expect("it waits");
        let rest = out.recv().expect("it is written");
        assert!(rest.starts_with(b"3 lost\nxxx") && rest.len() == ROOM + "3 lost\n".len(), "{} bytes", rest.len());
        assert_eq!(SLOW.drain(), (0, 0));
        assert_eq!(state(&SLOW), (0, 0, false));
    }

    #[test]
    fn an_output_that_takes_nothing_does_not_keep_the_end_from_coming() {
        static STUCK: Outlet = Outlet::new();
        let ((_go, may), (taken, _out)) = (mpsc::channel(), mpsc::channel());
        STUCK.open(Slow { may, taken }, |_| String::new()).expect("a thread");
        (&STUCK).write_all(b"last\n").expect("there is room");
        while !state(&STUCK).2 {
            thread::yield_now();
        }
        (&STUCK).write_all(b"words\n").expect("there is room");
        assert_eq!(STUCK.drain(), ("last\nwords\n".len(), 0));
        assert_eq!(state(&STUCK), (6, 0, true), "it was not written, and not waited for without end");
    }

    /// Takes so many bytes at each call, or fails, and everything from then on.
    struct Full {
        takes: VecDeque<Option<usize>>,
        taken: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = match self.takes.pop_front() {
                Some(most) => &bytes[..most.ok_or(io::ErrorKind::StorageFull)?],
                None => bytes,
            };
            self.taken.send(taken.to_owned()).map_err(io::Error::other)?;
            Ok(taken.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_full_disk_does_not_take_is_counted_and_no_line_runs_into_another() {
        static FULL: Outlet = Outlet::new();
        let (taken, out) = mpsc::channel();
        let takes = [Some(2), None].into();
        FULL.open(Full { takes, taken }, |lost| format!("{lost} lost\n")).expect("a thread");
        (&FULL).write_all(b"one\n").expect("there is room");
        assert_eq!(out.recv().expect("it is written"), b"on");
        assert_eq!(FULL.drain(), (0, 1));
        (&FULL).write_all(b"two\n").expect("there is room");
        assert_eq!(out.recv().expect("it is written"), b"\n1 lost\ntwo\n");
    }

    #[test]
    fn what_is_lost_again_and_again_is_told_in_all() {
        static FULL: Outlet = Outlet::new();
        let (taken, out) = mpsc::channel();
        let takes = [None; 3].into();
        FULL.open(Full { takes, taken }, |lost| format!("{lost} lost\n")).expect("a thread");
        for (lines, lost) in [("one\ntwo\n", 2), ("three\n", 3), ("four\n", 4)] {
            (&FULL).write_all(lines.as_bytes()).expect("there is room");
            assert_eq!(FULL.drain(), (0, lost));
        }
        (&FULL).write_all(b"five\n").expect("there is room");
        assert_eq!(out.recv().expect("it is written"), b"4 lost\nfive\n");
        assert_eq!(FULL.drain(), (0, 0));
    }
}
