//! Files and messages by system calls alone: with a C library the program would take a minute to
//! compile where nothing is cached.

const std = @import("std");

pub const linux = std.os.linux;

/// Whether a system call failed.
pub fn failed(result: usize) bool {
    return @as(isize, @bitCast(result)) < 0;
}

/// A descriptor for reading a file or a folder; null: it cannot be opened.
pub fn open(path: [*:0]const u8) ?i32 {
    const result = linux.open(path, .{ .CLOEXEC = true }, 0);
    return if (failed(result)) null else @intCast(result);
}

/// The file's bytes, in `buffer`; null: it cannot be read, or has no room there.
pub fn read(path: [*:0]const u8, buffer: []u8) ?[]u8 {
    const descriptor = open(path) orelse return null;
    defer _ = linux.close(descriptor);
    var size: usize = 0;
    while (size < buffer.len) {
        const result = linux.read(descriptor, buffer.ptr + size, buffer.len - size);
        if (failed(result)) return null;
        if (result == 0) return buffer[0..size];
        size += result;
    }
    return null;
}

pub fn say(descriptor: i32, parts: []const []const u8) void {
    for (parts) |part| _ = linux.write(descriptor, part.ptr, part.len);
}

/// Prints one line on stderr and returns the exit code.
pub fn fail(code: u8, what: []const u8, message: []const u8) u8 {
    say(2, &.{ "tvmkd-tool: ", what, ": ", message, "\n" });
    return code;
}

/// The parts one after the other in `buffer`, which has room for them and a zero at the end.
pub fn joined(buffer: []u8, parts: []const []const u8) [*:0]u8 {
    var at: usize = 0;
    for (parts) |part| {
        @memcpy(buffer[at..][0..part.len], part);
        at += part.len;
    }
    buffer[at] = 0;
    return buffer[0..at :0].ptr;
}
