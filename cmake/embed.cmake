# Writes OUTPUT, a C file with the bytes of FILES (a list) as an array of {name, {bytes, size}}, ended by zeros:
#     cmake -DFILES=a;b -DDECLARED=x.h -DARRAY="const thing things[]" -DOUTPUT=x.c -P embed.cmake
# where x.h declares the array.
set(text "/* Made by cmake/embed.cmake. */\n#include \"${DECLARED}\"\n\n")
set(table "")
set(number 0)
foreach(file IN LISTS FILES)
  get_filename_component(name ${file} NAME)
  file(READ ${file} hex HEX)
  string(LENGTH "${hex}" length)
  math(EXPR size "${length} / 2")
  string(REGEX REPLACE "(................................................)" "\\1\n" hex "${hex}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  string(APPEND text "_Alignas(16) static const unsigned char file_${number}[] = {\n${bytes}};\n\n")
  string(APPEND table "    {\"${name}\", {(const char *)file_${number}, ${size}}},\n")
  math(EXPR number "${number} + 1")
endforeach()
string(APPEND text "${ARRAY} = {\n${table}    {0}};\n")
file(WRITE ${OUTPUT} "${text}")
