//! The module's memory: blocks that a request gave back go to the next one.
//!
//! A request takes the same few blocks as the one before it: the map of its headers, what its stream
//! keeps, some lists. From the allocator of the standard library (dlmalloc) a block and its return
//! are some 150 instructions, from a list of blocks of one size 20. So a block that comes back stays
//! in the list of its size as long as that is short ([`KEPT_BYTES`]); what is more goes on to the
//! standard library's, which puts neighbours together, so that a configuration that goes leaves its
//! room to the next one.

#![allow(unsafe_code, reason = "an allocator has no other interface")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr::null_mut;

/// Sizes are multiples of this many bytes.
const STEP: usize = 16;
/// The longest block that is kept, in bytes: the headers of most requests.
const LONGEST: usize = 4096;
/// How much of one size is kept, in bytes, and at least two blocks. All sizes together are at most
/// 1.5 MiB, which only a program that first takes all of every size could come to.
const KEPT_BYTES: usize = 4096;
const SIZES: usize = LONGEST / STEP;
/// Blocks whose address must be a multiple of more are the standard library's.
const ALIGNMENT: usize = 8;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator(UnsafeCell::new([Kept::NONE; SIZES]));

struct Allocator(UnsafeCell<[Kept; SIZES]>);

/// The blocks of one size that are kept. Each begins with the address of the next.
#[derive(Clone, Copy)]
struct Kept {
    first: *mut u8,
    count: usize,
}

impl Kept {
    const NONE: Kept = Kept {
        first: null_mut(),
        count: 0,
    };
}

/// The place of the list of blocks of this size. None: they are not kept.
fn place(layout: Layout) -> Option<usize> {
    let place = layout.size().wrapping_sub(1) / STEP;
    (place < SIZES && layout.align() <= ALIGNMENT).then_some(place)
}

/// What the standard library is asked for.
fn rounded(layout: Layout, place: Option<usize>) -> Layout {
    match place {
        // SAFETY: the alignment is that of a layout, and the size at most `LONGEST`.
        Some(place) => unsafe {
            Layout::from_size_align_unchecked((place + 1) * STEP, layout.align())
        },
        None => layout,
    }
}

// SAFETY: a module of a proxy has one thread.
unsafe impl Sync for Allocator {}

// SAFETY: a block is either in a list or with the program. A list has only blocks of its size, which
// the standard library gave for it, and gets them back with the same size.
unsafe impl GlobalAlloc for Allocator {
    // Not in each of its thousand callers: the module would be a tenth larger.
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let place = place(layout);
        // SAFETY: there is one thread, and nothing is called while the lists are borrowed.
        let lists = unsafe { &mut *self.0.get() };
        if let Some(kept) = place.and_then(|place| lists.get_mut(place))
            && !kept.first.is_null()
        {
            let block = kept.first;
            // SAFETY: a block in a list begins with the address of the next one, or null.
            kept.first = unsafe { block.cast::<*mut u8>().read_unaligned() };
            kept.count -= 1;
            return block;
        }
        // SAFETY: the caller's promise, and a larger size keeps it.
        unsafe { System.alloc(rounded(layout, place)) }
    }

    // Not in each of its thousand callers: the module would be a tenth larger.
    #[inline(never)]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let place = place(layout);
        // SAFETY: there is one thread, and nothing is called while the lists are borrowed.
        let lists = unsafe { &mut *self.0.get() };
        if let Some(place) = place
            && let Some(kept) = lists.get_mut(place)
            && (kept.count < 2 || kept.count * (place + 1) * STEP < KEPT_BYTES)
        {
            // SAFETY: the block is the allocator's again, and has at least 16 bytes.
            unsafe { block.cast::<*mut u8>().write_unaligned(kept.first) };
            kept.first = block;
            kept.count += 1;
            return;
        }
        // SAFETY: that is the layout that it was given for.
        unsafe { System.dealloc(block, rounded(layout, place)) }
    }

    #[inline(never)]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the new size is one of a layout.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (place(layout), place(new)) {
            (Some(old), Some(new)) if old == new => block,
            // SAFETY: neither is kept, so the block is the standard library's.
            (None, None) => unsafe { System.realloc(block, layout, size) },
            _ => {
                // SAFETY: the caller's promises; the two blocks are different ones.
                unsafe {
                    let moved = self.alloc(new);
                    if !moved.is_null() {
                        let kept = layout.size().min(size);
                        block.copy_to_nonoverlapping(moved, kept);
                        self.dealloc(block, layout);
                    }
                    moved
                }
            }
        }
    }
}
