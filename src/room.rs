//! The waiting room, shared by all workers and touched by held requests alone: a [`Line`] behind a lock that is held
//! for a few instructions and never across an await.
//!
//! The watcher gives the orders, requests enter and leave. Nobody is woken who need not move: news that changes
//! nothing for those who wait costs the same for ten as for five thousand.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::evidence::Bound;
use crate::line::{Line, Order, Place, Standing};
use crate::lock::lock;

/// In bytes, the heads of all requests that are held; of their bodies as much is kept again.
pub const HEADS_MOST: usize = 64 << 20;
/// Who has been on the way for so long without an answer, as a long poll is, keeps no one else waiting.
const ON_THE_WAY_MOST: Duration = Duration::from_secs(1);

/// Where requests wait until they may go.
#[derive(Debug)]
pub struct Room {
    line: Mutex<Line<Waker>>,
    /// How many wait, for those who only want to know that.
    waiting: AtomicUsize,
    /// How many stand aside.
    aside: AtomicUsize,
    bytes: AtomicUsize,
    answers: AtomicU64,
    most: usize,
    most_bytes: usize,
    arrived: Notify,
    /// When somebody last looked at a waiting page, in milliseconds since `made`; 0: never.
    watched: AtomicU64,
    made: Instant,
}

/// A page asks once a second, or every five where its tab is hidden; two misses, and nobody looks at it any more.
const WATCHED_FOR: Duration = Duration::from_secs(10);

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It may go.
    Go,
    /// Waiting is pointless.
    GiveUp,
}

impl Room {
    /// Holds at most `most` requests at once, of `most_bytes` in all.
    pub fn new(most: usize, most_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            line: Mutex::default(),
            waiting: AtomicUsize::new(0),
            aside: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            answers: AtomicU64::new(0),
            most,
            most_bytes,
            arrived: Notify::new(),
            watched: AtomicU64::new(0),
            made: Instant::now(),
        })
    }

    /// How many requests wait. Those that were let go and are on their way do not count.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// How many requests are held: those that wait, and those that stand aside.
    pub fn held(&self) -> usize {
        self.waiting() + self.aside.load(Relaxed)
    }

    /// How many may be.
    pub fn most(&self) -> usize {
        self.most
    }

    /// How many requests that were let go have been answered, ever.
    pub fn answers(&self) -> u64 {
        self.answers.load(Relaxed)
    }

    /// Somebody looks at a waiting page.
    pub fn watch(&self) {
        let before = self.is_watched();
        let now = u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        self.watched.store(now, Relaxed);
        if !before {
            self.arrived.notify_one();
        }
    }

    /// Whether somebody has looked at a waiting page lately.
    pub fn is_watched(&self) -> bool {
        let last = self.watched.load(Relaxed);
        last > 0 && self.made.elapsed() < Duration::from_millis(last) + WATCHED_FOR
    }

    /// Ends when a request waits or a page is looked at, and none was before.
    pub fn arrival(&self) -> impl Future<Output = ()> {
        self.arrived.notified()
    }

    /// Takes a place for a request of so many `bytes`. See [`Line::enter`] for `refuted`.
    ///
    /// # Errors
    /// Which bound of the room would be exceeded.
    pub fn enter(self: &Arc<Self>, place: Place, bytes: usize, refuted: Option<u64>) -> Result<Held, Bound> {
        let held = self.admit(place, bytes)?;
        held.wait_again(refuted);
        Ok(held)
    }

    /// Takes a place that stands aside. See [`Line::step_aside`].
    ///
    /// # Errors
    /// Which bound of the room would be exceeded.
    pub fn enter_aside(self: &Arc<Self>, place: Place, bytes: usize) -> Result<Held, Bound> {
        let held = self.admit(place, bytes)?;
        held.step_aside();
        Ok(held)
    }

    fn admit(self: &Arc<Self>, place: Place, bytes: usize) -> Result<Held, Bound> {
        let room = |taken: usize| taken.checked_add(bytes).filter(|sum| *sum <= self.most_bytes);
        // Workers that ask at once may exceed it by as many as they are.
        if self.held() >= self.most {
            return Err(Bound::Number { most: self.most });
        }
        self.bytes.fetch_update(Relaxed, Relaxed, room).map_err(|_| Bound::Bytes { most: self.most_bytes })?;
        Ok(Held { room: Arc::clone(self), place, bytes })
    }

    /// Brings all who stand aside back to their places.
    pub fn call_back(&self) {
        if self.aside.load(Relaxed) > 0 {
            self.change(Line::call_back);
        }
    }

    /// Passes the watcher's order on to everyone whom it concerns. See [`Line::obey`] for `news`.
    pub fn obey(&self, order: Order, news: u64) {
        self.change(|line| line.obey(order, news));
    }

    /// Changes the line, and wakes whoever may move then.
    fn change(&self, change: impl FnOnce(&mut Line<Waker>) -> Vec<Waker>) {
        let mut line = lock(&self.line);
        let woken = change(&mut line);
        let (before, after) = (self.waiting(), line.waiting());
        self.waiting.store(after, Relaxed);
        self.aside.store(line.aside(), Relaxed);
        drop(line);
        if before == 0 && after > 0 {
            self.arrived.notify_one();
        }
        woken.into_iter().for_each(Waker::wake);
    }
}

/// A held request, from its entry until it has an answer. Dropped, it gives its place up.
#[derive(Debug)]
pub struct Held {
    room: Arc<Room>,
    place: Place,
    bytes: usize,
}

impl Held {
    /// Waits for its turn.
    pub async fn turn(&self) -> Turn {
        poll_fn(|cx| match lock(&self.room.line).look(self.place, cx.waker().clone()) {
            Standing::Waiting => Poll::Pending,
            Standing::Passing => Poll::Ready(Turn::Go),
            Standing::Dismissed => Poll::Ready(Turn::GiveUp),
        })
        .await
    }

    /// Goes back to its old place, for the next [`Self::turn`].
    pub fn wait_again(&self, refuted: Option<u64>) {
        self.room.change(|line| line.enter(self.place, refuted));
    }

    /// Makes way for others until it is called back.
    pub fn step_aside(&self) {
        self.room.change(|line| line.step_aside(self.place));
    }

    /// Makes way for others until it goes back by itself.
    pub fn step_out(&self) {
        self.room.change(|line| line.leave(self.place));
    }

    /// Drives what was let go. When that takes long, others need not wait for it.
    pub async fn on_the_way<T>(&self, errand: impl Future<Output = T>) -> T {
        let mut errand = pin!(errand);
        tokio::select! {
            biased;
            done = &mut errand => return done,
            () = sleep(ON_THE_WAY_MOST) => self.room.change(|line| line.leave(self.place)),
        }
        errand.await
    }

    /// It has an answer: others may follow.
    pub fn answered(&self) {
        self.room.answers.fetch_add(1, Relaxed);
        self.room.change(|line| line.answered(self.place));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.bytes.fetch_sub(self.bytes, Relaxed);
        self.room.change(|line| line.leave(self.place));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn place(id: u64) -> Place {
        Place { arrived: std::time::Instant::now(), id }
    }

    #[test]
    fn a_place_that_is_dropped_is_free_at_once() {
        let room = Room::new(1, 100);
        let first = room.enter(place(1), 60, None).expect("there is room");
        assert_eq!(room.enter(place(2), 10, None).expect_err("it is full"), Bound::Number { most: 1 });
        drop(first);
        assert_eq!(room.waiting(), 0);
        room.enter(place(3), 60, None).expect("there is room again");
    }

    #[test]
    fn bytes_are_bounded_too_and_come_back() {
        let room = Room::new(10, 100);
        let first = room.enter(place(1), 60, None).expect("there is room");
        assert_eq!(room.enter(place(2), 41, None).expect_err("too many bytes"), Bound::Bytes { most: 100 });
        let second = room.enter(place(3), 40, None).expect("just enough");
        drop((first, second));
        room.enter(place(4), 100, None).expect("all of it");
    }

    #[test]
    fn who_is_let_go_and_leaves_makes_way() {
        let room = Room::new(100, 100);
        let mut held: Vec<_> = (0..20).map(|id| room.enter(place(id), 1, None).expect("there is room")).collect();
        assert_eq!(held[0].turn().now_or_never(), None);
        room.obey(Order::Go, 1);
        let gone = |held: &[Held]| held.iter().filter(|held| held.turn().now_or_never() == Some(Turn::Go)).count();
        assert_eq!((gone(&held), room.waiting()), (16, 4));
        held.remove(0);
        assert_eq!((gone(&held), room.waiting()), (16, 3));
        held[0].answered();
        assert_eq!((held[16].turn().now_or_never(), room.waiting()), (Some(Turn::Go), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_long_makes_room_for_as_many_and_no_more() {
        let room = Room::new(100, 100);
        let held: Vec<_> = (0..60).map(|id| room.enter(place(id), 1, None).expect("there is room")).collect();
        room.obey(Order::Go, 1);
        let slow = held[..16].iter().map(|held| held.on_the_way(std::future::pending::<()>()));
        tokio::select! {
            _ = futures_util::future::join_all(slow) => unreachable!("they never end"),
            turn = held[31].turn() => assert_eq!(turn, Turn::Go),
        }
        assert_eq!(room.waiting(), 60 - 32, "it was no answer");
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_is_looked_at_as_long_as_it_asks() {
        let room = Room::new(1, 1);
        assert!(!room.is_watched());
        room.watch();
        room.arrival().await;
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(room.is_watched());
        room.watch();
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(room.is_watched());
        assert_eq!(room.arrival().now_or_never(), None, "nobody new");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!room.is_watched());
    }

    #[tokio::test]
    async fn when_waiting_becomes_pointless_everyone_is_told() {
        let room = Room::new(100, 100);
        let held = room.enter(place(1), 1, None).expect("there is room");
        let (turn, ()) = tokio::join!(held.turn(), async { room.obey(Order::GiveUp, 1) });
        assert_eq!(turn, Turn::GiveUp);
    }
}
