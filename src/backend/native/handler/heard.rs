//! A connection that remembers what its other side said first.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// So many bytes tell one protocol from another: as many as the header of a TLS record has.
const FIRST: usize = 5;

pub(super) struct Heard<T> {
    io: T,
    first: [u8; FIRST],
    count: usize,
}

impl<T> Heard<T> {
    pub(super) fn new(io: T) -> Self {
        Self { io, first: [0; FIRST], count: 0 }
    }

    /// The first bytes, as far as they came.
    pub(super) fn first(&self) -> &[u8] {
        &self.first[..self.count]
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Heard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(context, buffer);
        for byte in buffer.filled()[before..].iter().take(FIRST - self.count) {
            let at = self.count;
            self.first[at] = *byte;
            self.count += 1;
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Heard<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
