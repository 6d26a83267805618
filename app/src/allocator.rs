//! How glibc deals with large blocks. A program that computes keeps them: given back, each is page-faulted afresh, and matrix products take
//! several times as long. A window that stays open for hours, with exports and cuts beside it, gives them back: blocks of all sizes that
//! live for different times would leave a heap of holes that only grows. Nothing happens on other systems.

/// How often a window gives holes back, seconds: it takes milliseconds.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const HOLES_EVERY: std::time::Duration = std::time::Duration::from_secs(20);

/// What a program does with blocks that it does not need any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LargeBlocks {
    /// They stay on the heap.
    Keep,
    /// They go back to the system.
    Return,
}

/// Call while there is one thread.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
pub fn tune(blocks: LargeBlocks) {
    let settings: &[(libc::c_int, libc::c_int)] = match blocks {
        LargeBlocks::Keep => {
            &[(libc::M_MMAP_THRESHOLD, i32::MAX), (libc::M_TRIM_THRESHOLD, i32::MAX), (libc::M_TOP_PAD, 64 << 20), (libc::M_ARENA_MAX, 1)]
        }
        // Smaller than a frame of the smallest video; a fixed one, or glibc raises it with the first block that is freed.
        LargeBlocks::Return => &[(libc::M_MMAP_THRESHOLD, 512 << 10), (libc::M_TRIM_THRESHOLD, 8 << 20), (libc::M_ARENA_MAX, 2)],
    };
    for (name, value) in settings {
        // SAFETY: mallopt only sets tunables of the allocator and is called before any thread is started.
        unsafe {
            libc::mallopt(*name, *value);
        }
    }
    if blocks == LargeBlocks::Return {
        // Between smaller blocks glibc gives nothing back unless it is asked. Without a thread for that, memory is only used less well.
        let _ = std::thread::Builder::new().name("kinebrush-holes".to_owned()).spawn(|| {
            loop {
                std::thread::sleep(HOLES_EVERY);
                // SAFETY: malloc_trim takes the allocator's own locks and changes no block that is in use.
                unsafe {
                    libc::malloc_trim(0);
                }
            }
        });
    }
}

/// Nothing to tune here.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn tune(_blocks: LargeBlocks) {}
