//! [`Events`] and [`TelemetryChanges`] as streams, behind the feature `stream`.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use crate::events::{Event, Events, RecvError};
use crate::telemetry::{TelemetryChange, TelemetryChanges};

/// The next item of a source, `None` once it has ended, and the source itself.
type Next<S, T> = Pin<Box<dyn Future<Output = (Option<T>, S)> + Send + Sync>>;

/// The events of a node as a stream, from [`Events::into_stream`]. It ends when the node has ended;
/// an error item says that the reader has missed events.
pub struct EventStream {
    next: Next<Events, Result<Event, RecvError>>,
}

/// The changes of telemetry as a stream, from [`TelemetryChanges::into_stream`]. It ends when the
/// node has ended.
pub struct TelemetryStream {
    next: Next<TelemetryChanges, TelemetryChange>,
}

impl Events {
    /// These events as a stream.
    #[must_use]
    pub fn into_stream(self) -> EventStream {
        EventStream { next: Box::pin(next_event(self)) }
    }
}

impl TelemetryChanges {
    /// These changes as a stream.
    #[must_use]
    pub fn into_stream(self) -> TelemetryStream {
        TelemetryStream { next: Box::pin(next_change(self)) }
    }
}

async fn next_event(mut events: Events) -> (Option<Result<Event, RecvError>>, Events) {
    let received = events.recv().await;
    ((received != Err(RecvError::Closed)).then_some(received), events)
}

async fn next_change(mut changes: TelemetryChanges) -> (Option<TelemetryChange>, TelemetryChanges) {
    (changes.recv().await, changes)
}

impl Stream for EventStream {
    type Item = Result<Event, RecvError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let (item, events) = ready!(self.next.as_mut().poll(context));
        self.next = Box::pin(next_event(events));
        Poll::Ready(item)
    }
}

impl Stream for TelemetryStream {
    type Item = TelemetryChange;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let (item, changes) = ready!(self.next.as_mut().poll(context));
        self.next = Box::pin(next_change(changes));
        Poll::Ready(item)
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").finish_non_exhaustive()
    }
}

impl fmt::Debug for TelemetryStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelemetryStream").finish_non_exhaustive()
    }
}
