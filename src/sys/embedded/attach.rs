//! Whoever has attached to the container: each gets a copy of the output as it comes, and may write to the container's
//! stdin or terminal. A message of their socket is a byte that says what it is, by the numbers of Kubernetes' channels, and
//! data.

use crate::rt::{self, nr};
use crate::{EAGAIN, EINTR, POLLIN, POLLOUT, PollFd, close, poll, read};

/// How many may attach at one time.
const CLIENTS: usize = 4;
/// What is polled here: the socket where they come, the input, and each of them.
pub const FDS: usize = 2 + CLIENTS;
/// The most input in one message.
const INPUT: usize = 4096;
/// How long the output waits for one who takes nothing of it. After that it goes on without.
const PATIENCE: i64 = 10_000;
/// The same at the container's end, when others wait for its exit record: for all of them together.
const LAST_PATIENCE: i64 = 2_000;

const STDIN: u8 = 0;
const HELLO: u8 = 3;
const RESIZE: u8 = 4;
const NO_MORE: u8 = 255;
const VERSION: u8 = 1;

const ACCEPTED: usize = 0o200_0000 | 0o4000;
const TIOCSWINSZ: usize = 0x5414;
const ECONNRESET: isize = -104;
const MONOTONIC: usize = 1;

#[derive(Clone, Copy)]
struct Client {
    /// -1 for none.
    fd: i32,
    /// Has claimed the input.
    feeds: bool,
    /// Takes no output any more.
    deaf: bool,
    /// Had no room for more when it was looked at last.
    full: bool,
    /// Its other side is closed; what it has sent may still be there. It gives its place to who needs one.
    gone: bool,
}

struct State {
    listener: i32,
    /// -1 when the container has none, or it was closed.
    input: i32,
    /// The terminal's master side, or -1.
    terminal: i32,
    /// The first one who leaves takes the input along.
    once: bool,
    clients: [Client; CLIENTS],
    /// Where the input that is not written yet lies in the message.
    held: (usize, usize),
    /// When the patience ends, in milliseconds; 0 while nobody waits.
    deadline: i64,
    /// When the last patience ends, 0 before it was needed.
    last: i64,
}

const NOBODY: Client = Client { fd: -1, feeds: false, deaf: false, full: false, gone: false };

// One thread; each is borrowed by one function at a time.
static mut STATE: State = State {
    listener: -1,
    input: -1,
    terminal: -1,
    once: false,
    clients: [NOBODY; CLIENTS],
    held: (0, 0),
    deadline: 0,
    last: 0,
};
static mut MESSAGE: [u8; 1 + INPUT] = [0; 1 + INPUT];

fn state() -> &'static mut State {
    // SAFETY: one thread, and no function holds it while it calls another one that asks for it.
    unsafe { &mut *(&raw mut STATE) }
}

/// Where they come.
pub fn listen(listener: i32) {
    state().listener = listener;
}

/// Where what they write goes.
pub fn input(input: i32) {
    state().input = input;
}

/// What they may resize.
pub fn terminal(terminal: i32) {
    state().terminal = terminal;
}

/// The container's stdin is for one of them only, as `stdinOnce` says.
pub fn once() {
    state().once = true;
}

fn milliseconds() -> i64 {
    let mut time = [0i64; 2];
    // SAFETY: the time is valid for writing.
    unsafe { rt::call(nr::CLOCK_GETTIME, [MONOTONIC, (&raw mut time) as usize, 0, 0, 0]) };
    time[0] * 1000 + time[1] / 1_000_000
}

/// Sends one message: whole or not at all.
fn send(fd: i32, kind: u8, data: &[u8]) -> isize {
    let parts = [[(&raw const kind) as usize, 1], [data.as_ptr() as usize, data.len()]];
    // SAFETY: both parts are valid for reading.
    unsafe { rt::call(nr::WRITEV, [fd as usize, (&raw const parts) as usize, parts.len(), 0, 0]) }
}

/// Gives everybody what stream 0, stdout, or 1, stderr, has said.
pub fn tell(stream: usize, data: &[u8]) {
    let state = state();
    for client in state.clients.iter_mut().filter(|c| c.fd >= 0 && !c.deaf) {
        let kind = stream as u8 + 1;
        let mut sent = send(client.fd, kind, data);
        // Only at the container's end: else `has_room` was asked before.
        if sent == EAGAIN {
            let now = milliseconds();
            if state.last == 0 {
                state.last = now + LAST_PATIENCE;
            }
            poll(&mut [PollFd { fd: client.fd, events: POLLOUT, revents: 0 }], (state.last - now).max(0));
            sent = send(client.fd, kind, data);
        }
        client.deaf = sent < 0;
    }
}

/// Whether everybody can take more output. Whoever could not for too long gets none any more.
pub fn has_room() -> bool {
    let state = state();
    let now = milliseconds();
    let late = state.deadline != 0 && now >= state.deadline;
    let mut room = true;
    for client in state.clients.iter_mut().filter(|c| c.fd >= 0 && !c.deaf) {
        let mut fd = [PollFd { fd: client.fd, events: POLLOUT, revents: 0 }];
        poll(&mut fd, 0);
        client.full = fd[0].revents == 0;
        if client.full && late {
            client.deaf = true;
            shut(client.fd);
        } else if client.full {
            room = false;
        }
    }
    if room {
        (state.deadline, state.last) = (0, 0);
    } else if state.deadline == 0 {
        state.deadline = now + PATIENCE;
    }
    room
}

/// Tells the other side that nothing more comes.
fn shut(fd: i32) {
    const SHUT_WR: usize = 1;
    // SAFETY: takes numbers.
    unsafe { rt::call(nr::SHUTDOWN, [fd as usize, SHUT_WR, 0, 0, 0]) };
}

/// What to wait for. While input is held nobody's is read; `waiting` is for whoever can take no more output.
pub fn wanted(waiting: bool) -> [PollFd; FDS] {
    let holds = holds();
    let state = state();
    let mut fds = [PollFd { fd: -1, events: POLLIN, revents: 0 }; FDS];
    fds[0].fd = state.listener;
    if holds {
        fds[1] = PollFd { fd: state.input, events: POLLOUT, revents: 0 };
    }
    for (client, fd) in state.clients.iter().zip(&mut fds[2..]) {
        let input = if holds { 0 } else { POLLIN };
        let output = if waiting && client.full && !client.deaf { POLLOUT } else { 0 };
        fd.events = input | output;
        // That one is gone is told of even when nothing is asked, and told again as long as it is not read to its end.
        fd.fd = if holds && client.gone { -1 } else { client.fd };
    }
    fds
}

/// Whether there is input that the container has not taken yet.
fn holds() -> bool {
    let held = state().held;
    held.0 < held.1
}

/// Does what was waited for.
pub fn serve(fds: &[PollFd]) {
    if fds[1].revents != 0 {
        flush();
    }
    for (index, fd) in fds[2..].iter().enumerate().filter(|(_, fd)| fd.revents != 0) {
        if fd.events & POLLIN != 0 {
            // Input of the one before may be held since; the next look comes back to this one.
            if fd.revents & !POLLOUT != 0 && !holds() {
                receive(index);
            }
        } else if fd.revents & !POLLOUT != 0 {
            let client = &mut state().clients[index];
            (client.deaf, client.gone) = (true, true);
        }
    }
    if fds[0].revents != 0 {
        accept();
    }
}

fn accept() {
    let state = state();
    // SAFETY: takes numbers; the address is not asked for.
    let fd = unsafe { rt::call(nr::ACCEPT4, [state.listener as usize, 0, 0, ACCEPTED, 0]) } as i32;
    if fd < 0 {
        return;
    }
    let free = |wanted: fn(&Client) -> bool| state.clients.iter().position(wanted);
    match free(|client| client.fd < 0).or_else(|| free(|client| client.gone)) {
        Some(place) => {
            if state.clients[place].gone {
                leave(place);
            }
            let state = self::state();
            state.clients[place] = Client { fd, ..NOBODY };
            let flags = u8::from(state.terminal >= 0) | u8::from(state.input >= 0) << 1;
            send(fd, HELLO, &[VERSION, flags]);
        }
        None => close(fd),
    }
}

fn write(fd: i32, bytes: &[u8]) -> isize {
    // SAFETY: the bytes are valid for reading.
    unsafe { rt::call(nr::WRITE, [fd as usize, bytes.as_ptr() as usize, bytes.len(), 0, 0]) }
}

/// Writes the input that is held.
fn flush() {
    let state = state();
    while state.held.0 < state.held.1 {
        // SAFETY: one thread; the message is borrowed nowhere else meanwhile.
        let message = unsafe { &*(&raw const MESSAGE) };
        match write(state.input, &message[state.held.0..state.held.1]) {
            count if count > 0 => state.held.0 += count as usize,
            EINTR => {}
            EAGAIN => return,
            // Nobody reads it any more.
            _ => {
                state.held = (0, 0);
                end_input();
                return;
            }
        }
    }
}

/// Ends the input. A terminal is the output's too, and stays.
fn end_input() {
    let state = state();
    if state.terminal < 0 && state.input >= 0 {
        close(state.input);
        state.input = -1;
        state.held = (0, 0);
    }
}

/// Lets one go, with the input if that was for one only.
fn leave(index: usize) {
    let state = state();
    let client = state.clients[index];
    close(client.fd);
    state.clients[index] = NOBODY;
    if client.feeds && state.once {
        end_input();
    }
}

fn receive(index: usize) {
    let state = state();
    let client = &mut state.clients[index];
    // SAFETY: one thread, and nobody calls this while input is held, so nothing of the message is needed any more.
    let message = unsafe { &mut *(&raw mut MESSAGE) };
    let count = match read(client.fd, message) {
        count if count > 0 => count as usize,
        EAGAIN | EINTR => return,
        // It left without having taken everything; what it has sent may still be there.
        ECONNRESET => {
            client.deaf = true;
            return;
        }
        _ => {
            leave(index);
            return;
        }
    };
    match message[0] {
        STDIN => {
            client.feeds = true;
            if state.input >= 0 {
                state.held = (1, count);
                flush();
            }
        }
        RESIZE if state.terminal >= 0 && count >= 5 => {
            let number = |at: usize| u16::from_le_bytes([message[at], message[at + 1]]);
            let size = [number(1), number(3), 0, 0];
            // SAFETY: the size is valid for reading.
            unsafe { rt::call(nr::IOCTL, [state.terminal as usize, TIOCSWINSZ, (&raw const size) as usize, 0, 0]) };
        }
        NO_MORE if client.feeds => {
            client.feeds = false;
            if state.once {
                end_input();
            }
        }
        _ => {}
    }
}
