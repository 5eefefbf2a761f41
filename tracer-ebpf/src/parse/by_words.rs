/// Makes a [`Packet`](crate::parse::Packet) of bytes that have a method `read`, which reads an integer
/// or an array of them at an offset. `$any_layout` is the trait's constant.
#[macro_export]
macro_rules! packet_by_words {
    ($kind:ty, $any_layout:literal) => {
        impl $crate::parse::Packet for $kind {
            const ANY_LAYOUT: bool = $any_layout;

            #[inline(always)]
            fn byte(&self, at: usize) -> Option<u8> {
                self.read(at)
            }

            #[inline(always)]
            fn half(&self, at: usize) -> Option<u16> {
                self.read(at)
            }

            #[inline(always)]
            fn words<const N: usize>(&self, at: usize) -> Option<[u32; N]> {
                self.read(at)
            }
        }
    };
}
