# Writes evaluation tasks made from held-out documents: see quickstart.sh.
#   perl quickstart_tasks.pl VALIDATION.jsonl RECALL.jsonl CHOICE.jsonl VALIDATION.txt
# Recall: a passage, then its beginning again; the answer is how it went on. Choice: the first half of a verse or
# paragraph, and its second half beside three that have two neighbouring words exchanged. The last file is the plain
# text, to compare with gzip.
use strict;
use warnings;
use JSON::PP;

my ($from, $recall_path, $choice_path, $text_path) = @ARGV;
my $json = JSON::PP->new->utf8->canonical;

sub opened {
  my ($path) = @_;
  open my $file, '>:raw', $path or die "$path: $!";
  return $file;
}

open my $documents, '<:raw', $from or die "$from: $!";
my ($recall, $choice, $text) = (opened($recall_path), opened($choice_path), opened($text_path));
my @chapters = map { $json->decode($_)->{text} } <$documents>;
for my $chapter (@chapters) {
  my $bytes = "$chapter\n";
  utf8::encode($bytes);
  print {$text} $bytes;
}
my @passages = grep { length($_) > 60 && length($_) < 400 } map { split /\n+/ } @chapters;

# The same draws each time: the state of a small linear congruential generator.
my $state = 12345;
sub below {
  my ($n) = @_;
  $state = ($state * 1103515245 + 12345) % 2147483648;
  return int($state / 2147483648 * $n);
}

my $examples = 240;
for (my $written = 0 ; $written < $examples ;) {
  my $passage = $passages[ below(scalar @passages) ];
  my @words = split / /, $passage;
  next if @words < 12;
  my $between = $passages[ below(scalar @passages) ];
  my $cut = int(@words / 3);
  my $prompt = join("\n", $passage, $between, join(' ', @words[ 0 .. $cut - 1 ]));
  my $answer = join ' ', '', @words[ $cut .. $#words ];
  print {$recall} $json->encode({ type => 'recall', prompt => $prompt, answer => $answer }), "\n";
  ++$written;
}

# The words with those at $at and $at + 1 exchanged, as text that follows others.
sub exchanged {
  my ($at, @words) = @_;
  @words[ $at, $at + 1 ] = @words[ $at + 1, $at ];
  return join ' ', '', @words;
}

for (my $written = 0 ; $written < $examples ;) {
  my @words = split / /, $passages[ below(scalar @passages) ];
  my @ending = splice @words, int(@words / 2);
  my @places = grep { $ending[$_] ne $ending[ $_ + 1 ] } 0 .. $#ending - 1;
  next if @places < 6;
  my @choices = map { exchanged(splice(@places, below(scalar @places), 1), @ending) } 1 .. 3;
  my $right = below(4);
  splice @choices, $right, 0, join ' ', '', @ending;
  my $context = join ' ', @words;
  print {$choice} $json->encode({ type => 'choice', context => $context, choices => \@choices, answer => $right }), "\n";
  ++$written;
}
close $_ or die "cannot be written: $!" for $recall, $choice, $text;
