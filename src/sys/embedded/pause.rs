//! `/pause`: holds the namespaces of a pod by being alive, and removes the zombies of a shared process namespace, where it
//! is process 1. Ends on SIGTERM and SIGINT.

#![no_std]
#![no_main]

#[allow(dead_code)]
mod rt;

use rt::{SIGCHLD, SIGINT, SIGTERM, bit, nr};

extern "C" fn entry(_stack: *const usize) -> ! {
    rt::set_name(b"pause\0\0\0\0\0\0\0\0\0\0\0");
    rt::block_signals();
    let awaited = bit(SIGCHLD) | bit(SIGTERM) | bit(SIGINT);
    loop {
        while rt::reap().is_some() {}
        // SAFETY: the set is valid and eight bytes long.
        let signal = unsafe { rt::call(nr::RT_SIGTIMEDWAIT, [(&raw const awaited) as usize, 0, 0, 8, 0]) };
        if signal == SIGTERM as isize || signal == SIGINT as isize {
            rt::exit(0);
        }
    }
}
