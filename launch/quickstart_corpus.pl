# Writes the documents of installed Debian packages as JSON lines: see quickstart_corpus.sh.
#   perl quickstart_corpus.pl TRAIN.jsonl VALIDATION.jsonl SOURCE...
use strict;
use warnings;
use JSON::PP;

package ProsePod {
  # Collects the sections of a POD page, each a heading and its paragraphs, without examples of code.
  use parent 'Pod::Simple';
  my %block = map { $_ => 1 } qw(Para head1 head2 head3 head4 item-text item-bullet item-number);
  sub _handle_element_start {
    my ($self, $name) = @_;
    $self->{text} = '' if $block{$name};
    $self->{skip}++ if $name eq 'Verbatim' || $name eq 'for' || $name eq 'X';
  }
  sub _handle_text { $_[0]{text} .= $_[1] unless $_[0]{skip} }
  sub _handle_element_end {
    my ($self, $name) = @_;
    $self->{skip}-- if $name eq 'Verbatim' || $name eq 'for' || $name eq 'X';
    return unless $block{$name};
    push @{ $self->{sections} }, [] if $name =~ /^head[12]$/ || !$self->{sections};
    push @{ $self->{sections}[-1] }, [ $name, $self->{text} ];
  }
}

package main;

my ($train_path, $validation_path, @sources) = @ARGV;
my (%documents, %seen);

# A paragraph of English prose, not a table, a list of names or a text that came before.
sub is_prose {
  my ($text) = @_;
  return 0 if length $text < 40 || $seen{$text}++;
  my $letters = () = $text =~ /[A-Za-z ,.;']/g;
  return $letters >= 0.9 * length $text;
}

sub clean {
  my ($text) = @_;
  $text =~ s/[\x{2018}\x{2019}]/'/g;
  $text =~ s/[\x{201c}\x{201d}]/"/g;
  $text =~ s/\x{a0}/ /g;
  $text =~ s/\s+/ /g;
  $text =~ s/^ | $//g;
  return $text;
}

sub add_document {
  my ($source, @paragraphs) = @_;
  my $text = join "\n\n", @paragraphs;
  push @{ $documents{$source} }, $text if length $text >= 400;
}

# The Bible: a chapter a document, a verse a line.
sub read_bible {
  open my $verses, '-|', 'bible', '-f', 'gen1:1-rev22:21' or die "bible: $!";
  my ($chapter, @text) = ('');
  while (<$verses>) {
    my ($of, $verse) = /^(\w+):\d+ (.*)$/ or die "bible: unexpected line: $_";
    if ($of ne $chapter) {
      add_document('bible', join "\n", @text) if @text;
      ($chapter, @text) = ($of);
    }
    push @text, $verse;
  }
  add_document('bible', join "\n", @text);
  close $verses or die 'bible: failed';
}

# Perl's manual: a section a document. Left out are indexes, tables of properties and other languages.
sub read_perl {
  for my $path (sort glob '/usr/share/perl/*/pod/*.pod') {
    next if $path =~ m{/perl(toc|uniprops|modlib|cn|de|fr|jp|ko|tw|hist|diag|ebcdic)\.pod$};
    my $pod = ProsePod->new;
    $pod->no_errata_section(1);
    $pod->no_whining(1);
    $pod->parse_file($path);
    for my $section (@{ $pod->{sections} || [] }) {
      my @kept;
      for (@$section) {
        my ($kind, $text) = ($_->[0], clean($_->[1]));
        push @kept, $text if $kind =~ /^head/ ? !@kept : is_prose($text);
      }
      add_document('perl', @kept);
    }
  }
}

# Debian Reference and the like: plain text, paragraphs between blank lines; a document every few paragraphs.
sub read_debian {
  for my $path (sort glob '/usr/share/debian-reference/debian-reference.en.txt.gz') {
    open my $file, '-|:encoding(UTF-8)', 'gzip', '-dc', $path or die "$path: $!";
    local $/ = '';
    my @kept;
    while (my $paragraph = <$file>) {
      my $text = clean($paragraph);
      push @kept, $text if is_prose($text);
      if (@kept == 12) {
        add_document('debian', @kept);
        @kept = ();
      }
    }
    add_document('debian', @kept);
  }
}

my %read = (bible => \&read_bible, perl => \&read_perl, debian => \&read_debian);
for my $source (@sources) {
  my $reader = $read{$source} or die "no source $source: choose " . join(', ', sort keys %read) . "\n";
  $reader->();
}

open my $train, '>:raw', $train_path or die "$train_path: $!";
open my $validation, '>:raw', $validation_path or die "$validation_path: $!";
my $json = JSON::PP->new->utf8->canonical;
for my $source (@sources) {
  my ($count, %bytes) = (0, train => 0, validation => 0);
  for my $text (@{ $documents{$source} || [] }) {
    # Every twentieth document is held out, so that both files are of one kind.
    my $held_out = $count++ % 20 == 10;
    my $line = $json->encode({ text => $text }) . "\n";
    print { $held_out ? $validation : $train } $line;
    $bytes{ $held_out ? 'validation' : 'train' } += length $line;
  }
  die "$source: no documents\n" unless $count;
  printf "%-7s %6d documents  %6.2f MB to train on  %5.2f MB held out\n", $source, $count,
    $bytes{train} / 1e6, $bytes{validation} / 1e6;
}
for ($train, $validation) { close $_ or die "cannot be written: $!" }
