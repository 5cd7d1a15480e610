// Package strictjson reads JSON of which every byte counts.
//
// encoding/json is lenient where signed metadata must not be: it takes the last of two equal keys, matches keys whatever
// their case, replaces invalid UTF-8, and knows neither a depth nor a size. Check refuses all of that, and besides
// anything that lets two texts mean the same value by a change of one bit. The package trusts nothing and imports
// nothing of ours. Start reading at Check.
package strictjson
