//! Appends that end with whole pages.
//!
//! Before a part of a page is overwritten, the kernel reads it from the disk if it has it no more, as may be so with a recycled segment,
//! whose pages nobody has touched since they were written. An append would wait for that, and so would all that are to be confirmed with
//! it. What a segment still holds behind the end of its log is of no use to anybody. So the page that an append ends in is written whole,
//! with zeros behind the append, the first time that an append ends in it; by the next time the kernel has it.

use leveret_engine::ids::SegmentId;

/// Bytes of a page, on whatever machine: what is larger is read after all.
const PAGE: usize = 4096;
static ZEROS: [u8; PAGE] = [0; PAGE];

/// How far the segment that is written to was filled.
#[derive(Debug, Default)]
pub(super) struct Tail {
    segment: SegmentId,
    /// The end of the last page written whole.
    end: u64,
}

impl Tail {
    /// What is to follow an append of so many bytes at `offset` of a segment of `size` bytes.
    pub(super) fn padding(&mut self, segment: SegmentId, size: u64, offset: u64, len: u64) -> &'static [u8] {
        if self.segment != segment {
            *self = Self { segment, end: 0 };
        }
        let end = offset + len;
        let page_end = end.next_multiple_of(PAGE as u64);
        if len == 0 || end <= self.end || page_end > size {
            return &[];
        }
        self.end = page_end;
        &ZEROS[..usize::try_from(page_end - end).expect("a page fits")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_is_filled_once() {
        let mut tail = Tail::default();
        let mut padding =
            |segment, offset, len| tail.padding(SegmentId(segment), 3 * PAGE as u64 - 1, offset, len).len();
        assert_eq!(padding(1, 0, 100), 3996);
        assert_eq!(padding(1, 100, 3996), 0);
        assert_eq!(padding(1, 4096, 0), 0, "nothing is written");
        assert_eq!(padding(1, 4096, 1), 4095);
        assert_eq!(padding(2, 0, 5000), 3192, "another segment");
        assert_eq!(padding(2, 5000, 4000), 0, "the file does not grow");
    }
}
