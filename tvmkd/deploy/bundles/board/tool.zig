//! tvmkd-tool: what install.sh cannot do with a board's own tools. Static, without a C library.
//!
//!     tvmkd-tool verify KEY FILE SIGNATURE      minisign's format, prehashed; prints the comment
//!     tvmkd-tool switch TARGET LINK             a symbolic link, replaced in one step and synced
//!     tvmkd-tool sync PATH                      writes the file system of PATH to the disk
//!
//! Exit codes: 0 yes, 1 no, 2 wrong usage, 4 a file cannot be used.

const std = @import("std");
const io = @import("io.zig");
const minisign = @import("minisign.zig");

const linux = io.linux;
const text = std.mem.span;

// Zig 0.16 gives main its arguments; before, they are global.
pub const main = if (@hasDecl(std.process, "Init")) main_with_arguments else main_without;

fn main_with_arguments(process: std.process.Init.Minimal) u8 {
    return run(process.args.vector);
}

fn main_without() u8 {
    return run(std.os.argv);
}

fn run(argv: anytype) u8 {
    if (argv.len > 1) {
        const verb = text(argv[1]);
        if (std.mem.eql(u8, verb, "verify") and argv.len == 5) return minisign.verify(argv[2], argv[3], argv[4]);
        if (std.mem.eql(u8, verb, "switch") and argv.len == 4) return replace(argv[2], argv[3]);
        if (std.mem.eql(u8, verb, "sync") and argv.len == 3) return sync(argv[2]);
    }
    return io.fail(2, "usage", "tvmkd-tool verify KEY FILE SIGNATURE | switch TARGET LINK | sync PATH");
}

/// A reader of LINK sees the older target or TARGET, and after a power cut too: the new link gets
/// another name first, and a rename replaces the older one.
fn replace(target: [*:0]const u8, link: [*:0]const u8) u8 {
    var draft: [4096]u8 = undefined;
    var folder: [4096]u8 = undefined;
    const path = text(link);
    if (path.len + 6 > draft.len) return io.fail(4, path, "is too long a path");
    const cut = std.mem.lastIndexOfScalar(u8, path, '/');
    const name_at = if (cut) |at| at + 1 else 0;
    const new = io.joined(&draft, &.{ path[0..name_at], ".", path[name_at..], ".new" });
    const parent = io.joined(&folder, &.{if (cut) |at| path[0..@max(at, 1)] else "."});
    _ = linux.unlink(new);
    if (io.failed(linux.symlink(target, new))) return io.fail(4, path, "cannot make a link beside it");
    if (io.failed(linux.rename(new, link))) {
        _ = linux.unlink(new);
        return io.fail(4, path, "cannot be replaced");
    }
    const descriptor = io.open(parent) orelse return io.fail(4, path, "its folder cannot be synced");
    defer _ = linux.close(descriptor);
    if (io.failed(linux.fsync(descriptor))) return io.fail(4, path, "its folder cannot be synced");
    return 0;
}

fn sync(path: [*:0]const u8) u8 {
    const descriptor = io.open(path) orelse return io.fail(4, text(path), "cannot be synced");
    defer _ = linux.close(descriptor);
    if (io.failed(linux.syscall1(.syncfs, @intCast(descriptor)))) return io.fail(4, text(path), "cannot be synced");
    return 0;
}
