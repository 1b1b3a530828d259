//! A client's connection as hyper gets to see it: without what [`grammar`](super::grammar) refuses, and with the
//! deadlines that hyper does not keep.
//!
//! | what happens | what hyper sees |
//! |---|---|
//! | a bare LF or a second framing in a head | a NUL, which it answers with 400 |
//! | broken framing of a body | an error, which the request answers with 400 |
//! | a head, or a preface of HTTP/2, that is not complete in time | an error: the connection is closed |
//! | a client that takes nothing of its answer for too long | an error: the connection is closed |
//! | the end of the client's stream | the end, but `LINGER` later |
//! | the same while nothing is read | an error, as much later |
//! | a request that was [held](super::suspended) without hyper has an answer | the head of a request, a second time |
//!
//! A timer exists only while one of these is under way, so an ordinary request costs none.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::Place;
use super::connection::PREFACE;
use super::departure::{Departure, Lookout};
use super::grammar::{Broken, Scanner};
use super::notes::Notes;
use super::unread;
use crate::conduit;
use crate::config::Limits;
use crate::spelling::{Instead, Writing};
use crate::telemetry::meter::{Limit, Meter};
use crate::tls::Stream;

/// A client that closes its sending half may still listen, and one that has left looks the same until something is
/// written to it. So the answer may come for this long after the end, and for as long as it flows; then the client is
/// taken to have left, which cancels the upstream's work.
const LINGER: Duration = Duration::from_millis(75);

/// A client's connection.
pub struct Wire {
    inner: Stream,
    /// `None` where the bytes are those of HTTP/2, which has frames instead of lines.
    scanner: Option<Scanner>,
    /// What is left of the preface of HTTP/2, in bytes.
    preface: usize,
    /// In bytes.
    head_most: usize,
    head_timeout: Duration,
    stall_timeout: Duration,
    meter: Arc<Meter>,
    notes: Arc<Notes>,
    /// For the rest of a head, or of a preface.
    reading: Option<Pin<Box<Sleep>>>,
    /// For room to write.
    writing: Option<Pin<Box<Sleep>>>,
    /// For an answer after the client's end.
    lingering: Option<Pin<Box<Sleep>>>,
    /// All of the answers that have begun is written.
    between_answers: bool,
    /// What is written of the answers that have begun.
    answers: Writing,
    /// Nothing was there to read when more was wanted last: all that was read has been used.
    dry: bool,
    /// Nothing was there to read, and what comes next is waited for.
    listening: bool,
    /// For the client's end while there is no listening.
    lookout: Option<Lookout>,
    /// What hyper reads next instead of what the client sends.
    again: &'static [u8],
    /// The end was read.
    ended: bool,
    /// What was well has been handed on; nothing after it can be believed.
    broken: Option<Broken>,
    _place: Place,
}

impl Wire {
    /// With `scanner` looking at what the client sends, if that is HTTP/1.1.
    pub fn new(
        inner: Stream,
        scanner: Option<Scanner>,
        place: Place,
        limits: &Limits,
        meter: Arc<Meter>,
        notes: Arc<Notes>,
    ) -> Self {
        Self {
            inner,
            reading: scanner.is_none().then(|| Box::pin(sleep(limits.header_timeout))),
            preface: if scanner.is_none() { PREFACE.len() } else { 0 },
            scanner,
            head_most: limits.header_bytes,
            head_timeout: limits.header_timeout,
            stall_timeout: limits.idle_timeout,
            meter,
            notes,
            writing: None,
            lingering: None,
            between_answers: true,
            answers: Writing::default(),
            dry: true,
            listening: false,
            lookout: None,
            again: &[],
            ended: false,
            broken: None,
            _place: place,
        }
    }

    /// After how many requests the conversation rests: all that was read is asked, and all that was asked is answered. Of
    /// TLS nobody here can tell: something may be left of a record.
    pub fn rests(&self) -> Option<usize> {
        let scanner = self.scanner.as_ref().filter(|scanner| scanner.is_between())?;
        let rests = self.answers.is_flushed()
            && self.dry
            && !self.ended
            && self.notes.between_answers()
            && self.notes.have_begun() == scanner.requests();
        (rests && !self.inner.is_tls()).then_some(scanner.requests())
    }

    /// Ready when there is something to read, or the end.
    pub fn poll_asked(&self, cx: &mut Context<'_>) -> Poll<()> {
        // An error is met by who reads.
        self.inner.tcp().poll_read_ready(cx).map(drop)
    }

    /// Ready when the client has left that waits for an answer.
    pub fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.look_out(cx)
    }

    /// Has hyper read this next. It was looked at before, in some form.
    pub fn read_again(&mut self, head: &'static [u8]) {
        self.again = head;
    }

    /// Whether it is encrypted.
    pub fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }

    /// Lets the client see that something is missing: its connection is closed by a reset.
    pub fn reset_when_closed(&self) {
        self.inner.reset_when_closed();
    }

    /// Looks at what was read after the first `before` bytes.
    fn received(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let Some(scanner) = &mut self.scanner else {
            self.preface = self.preface.saturating_sub(buf.filled().len() - before);
            self.reading.take_if(|_| self.preface == 0);
            return Ok(());
        };
        let scanned = scanner.scan(&mut buf.filled_mut()[before..]);
        self.notes.keep_unusual(scanner.take_unusual());
        self.notes.read.store(if scanner.is_between() { scanner.requests() } else { 0 }, Ordering::Relaxed);
        if let Err((well, broken)) = scanned {
            buf.set_filled(before + well);
            self.broken = Some(broken);
            self.notes.broken.store(scanner.requests(), Ordering::Relaxed);
            if well == 0 {
                return Err(io::Error::new(io::ErrorKind::InvalidData, broken));
            }
        }
        if !scanner.in_head() {
            self.reading = None;
        } else if self.reading.is_none() {
            // It is not extended by what comes: one byte a second is what the deadline is for.
            self.reading = Some(Box::pin(sleep(self.head_timeout)));
        }
        Ok(())
    }

    /// The client's end: at once if it owes a rest, if it is owed nothing, or if the protocol has its own ways to end.
    fn end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.dry = true;
        if self.rests().is_some() {
            return Poll::Ready(Ok(()));
        }
        if self.scanner.as_ref().is_none_or(|scanner| scanner.in_head() || scanner.is_opaque()) {
            return Poll::Ready(Ok(()));
        }
        self.ended = true;
        self.linger(cx).map(Ok)
    }

    fn linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.lingering.get_or_insert_with(|| Box::pin(sleep(LINGER))).as_mut().poll(cx)
    }

    /// Something flows: the client is given time again.
    fn flowed(&mut self) {
        if let Some(linger) = &mut self.lingering {
            linger.as_mut().reset(Instant::now() + LINGER);
        }
    }

    /// Looks whether a client that is not listened to has left.
    fn look_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.lingering.is_none() {
            match ready!(self.departure(cx)) {
                Some(Departure::Finished) => {}
                Some(Departure::Reset) => return Poll::Ready(io::ErrorKind::ConnectionReset.into()),
                None => return Poll::Pending,
            }
        }
        self.linger(cx).map(|()| io::Error::new(io::ErrorKind::ConnectionAborted, "the client has left"))
    }

    /// How the client has left. If nothing waits to be read, its end comes next; if something does, it may stand behind.
    fn departure(&mut self, cx: &mut Context<'_>) -> Poll<Option<Departure>> {
        if self.lookout.is_none() {
            match ready!(self.inner.tcp().poll_peek(cx, &mut ReadBuf::new(&mut [0]))) {
                Ok(0) => return Poll::Ready(Some(Departure::Finished)),
                Ok(_) => {}
                Err(_) => return Poll::Ready(Some(Departure::Reset)),
            }
        }
        self.lookout.get_or_insert_with(Lookout::begin).poll(cx, self.inner.tcp())
    }

    fn wrote(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(_) => {
                self.writing = None;
                self.flowed();
                written
            }
            Poll::Pending => self.stalled(cx).map(Err),
        }
    }

    /// Writes what hyper wants written, or what it stands for.
    fn poll_pieces(&mut self, cx: &mut Context<'_>, pieces: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let pieces = match pieces.iter().position(|piece| conduit::is_stand_in(piece)) {
            None => pieces,
            Some(0) => {
                self.answers.passed_over();
                return self.notes.conduit.poll_empty(cx, self.inner.tcp(), pieces[0].len());
            }
            Some(before) => &pieces[..before],
        };
        self.answers.poll_write(&mut self.inner, cx, pieces, self.notes.take_answer())
    }

    /// The client has to take something before anything more is written.
    fn stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        // A tunnel may be silent, and its reader slow, for as long as its ends like.
        if self.notes.switched.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let timer = self.writing.get_or_insert_with(|| Box::pin(sleep(self.stall_timeout)));
        timer.as_mut().poll(cx).map(|()| {
            self.meter.reached(Limit::IdleTimeout);
            io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing of its answer")
        })
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = &mut *self;
        if !wire.again.is_empty() {
            let (now, later) = wire.again.split_at(wire.again.len().min(buf.remaining()));
            buf.put_slice(now);
            (wire.again, wire.listening, wire.dry) = (later, false, false);
            return Poll::Ready(Ok(()));
        }
        if let Some(broken) = wire.broken {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, broken)));
        }
        if wire.ended {
            return wire.end(cx);
        }
        let before = buf.filled().len();
        (wire.listening, wire.dry) = (false, false);
        match Pin::new(&mut wire.inner).poll_read(cx, buf) {
            Poll::Ready(Ok(())) if buf.filled().len() == before => wire.end(cx),
            Poll::Ready(Ok(())) => {
                wire.flowed();
                Poll::Ready(wire.received(buf, before))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                (wire.listening, wire.dry, wire.lookout) = (true, true, None);
                match &mut wire.reading {
                    None => Poll::Pending,
                    Some(timer) => timer.as_mut().poll(cx).map(|()| {
                        wire.meter.reached(Limit::HeaderTimeout);
                        Err(io::Error::new(io::ErrorKind::TimedOut, "the rest of a head did not come"))
                    }),
                }
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wire = &mut *self;
        if std::mem::take(&mut wire.between_answers)
            && let [piece] = pieces
            && let Some(scanner) = &wire.scanner
        {
            let refused = unread::instead_of(piece, scanner.first_line() >= wire.head_most);
            wire.answers.put(refused.map(|(status, answer)| {
                wire.meter.refused(status);
                Instead::new(answer, piece.len())
            }));
        }
        let written = wire.poll_pieces(cx, pieces);
        wire.notes.pace.writes(&written);
        wire.wrote(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = &mut *self;
        // hyper flushes whenever it has done all that it can do now, and has read before if it wanted to.
        if !std::mem::take(&mut wire.listening)
            && wire.scanner.is_some()
            && !wire.notes.switched.load(Ordering::Relaxed)
            && let Poll::Ready(left) = wire.look_out(cx)
        {
            return Poll::Ready(Err(left));
        }
        wire.between_answers = wire.notes.between_answers();
        // Over TLS, what was written may still wait here.
        match wire.notes.pace.flushes(cx, |cx| Pin::new(&mut wire.inner).poll_flush(cx)) {
            Poll::Pending => wire.stalled(cx).map(Err),
            flushed => {
                wire.answers.flushed();
                flushed
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = &mut *self;
        match Pin::new(&mut wire.inner).poll_shutdown(cx) {
            Poll::Pending => wire.stalled(cx).map(Err),
            shut => shut,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn a_request_is_all_there_is_when_nothing_follows_it_and_what_was_answered_is_written() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let mut client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("it listens");
        let (stream, _) = listener.accept().await.expect("the client");
        let (meter, notes) = (Arc::<Meter>::default(), Arc::<Notes>::default());
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("one is free");
        let place = Place { _permit: permit, _counted: meter.connection() };
        let long = Duration::from_secs(60);
        let limits = Limits {
            connections: 1,
            header_bytes: 1 << 16,
            headers: 100,
            header_timeout: long,
            idle_timeout: long,
            requests: None,
            body_bytes: None,
        };
        let scanner = Some(Scanner::default());
        let mut wire = Wire::new(Stream::Plain(stream), scanner, place, &limits, meter, Arc::clone(&notes));
        let (get, mut read) = ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", [0; 200]);
        for (sent, number, is_all) in [(get, 1, true), (&get[..9], 1, false), (&get[9..], 2, true)] {
            client.write_all(sent.as_bytes()).await.expect("it is read");
            wire.read_exact(&mut read[..sent.len()]).await.expect("it was sent");
            assert_eq!(notes.has_just(number), is_all, "{sent:?}");
        }
        client.write_all([get, get].concat().as_bytes()).await.expect("it is read");
        wire.read_exact(&mut read[..2 * get.len()]).await.expect("it was sent");
        assert!(!notes.has_just(3) && notes.has_just(4), "two at once");

        // Until the client would have to take something.
        let answer = vec![b'x'; 1 << 20];
        while futures_util::poll!(Box::pin(wire.write_all(&answer))).is_ready() {}
        assert!(!notes.has_just(4), "a part of an answer is not written");
        tokio::spawn(async move { tokio::io::copy(&mut client, &mut tokio::io::sink()).await });
        wire.write_all(b"the end").await.expect("it is taken");
        assert!(!notes.has_just(4), "nobody has said that this was all");
        wire.flush().await.expect("nothing is left");
        assert!(notes.has_just(4));
    }
}
